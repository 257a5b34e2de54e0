#!/usr/bin/env python3
"""What ThingsBoard's documentation shows as an example script, step for step, without its questions: an RSA-2048
key and certificate, one provision request with paho, one connect with the certificate. Only for comparison.

    pip install paho-mqtt cryptography
    python3 benches/reference.py HOST PORT PROVISION_KEY PROVISION_SECRET SERVER_CERT DEVICE_NAME
"""

import json
import ssl
import sys
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from paho.mqtt.client import CallbackAPIVersion, Client

HOST, PORT, KEY, SECRET, SERVER_CERT, NAME = sys.argv[1:7]
PORT = int(PORT)


def generate():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc) - timedelta(minutes=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    with open("cert.pem", "wb") as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
    with open("key.pem", "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
        )


def provision():
    with open("cert.pem", encoding="ascii") as file:
        certificate = file.read()
    request = {"provisionDeviceKey": KEY, "provisionDeviceSecret": SECRET, "credentialsType": "X509_CERTIFICATE"}
    request |= {"deviceName": NAME, "hash": certificate}
    answers = []

    def on_connect(client, *_):
        client.subscribe("/provision/response")
        client.publish("/provision/request", json.dumps(request))

    def on_message(client, _, message):
        answers.append(json.loads(message.payload))
        client.disconnect()

    client = Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set("provision")
    client.tls_set(ca_certs=SERVER_CERT, tls_version=ssl.PROTOCOL_TLSv1_2)
    client.on_connect, client.on_message = on_connect, on_message
    client.connect(HOST, PORT, 60)
    client.loop_forever()
    assert answers[0]["status"] == "SUCCESS", answers


def connect():
    client = Client(CallbackAPIVersion.VERSION2)
    client.tls_set(ca_certs=SERVER_CERT, certfile="cert.pem", keyfile="key.pem", tls_version=ssl.PROTOCOL_TLSv1_2)
    client.on_connect = lambda client, userdata, flags, reason, properties: client.disconnect()
    client.connect(HOST, PORT, 60)
    client.loop_forever()


generate()
provision()
connect()
