-- Times are milliseconds since 1970, UTC. What is 0 or 1 answers a question.

CREATE TABLE ledger (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    word    TEXT NOT NULL,              -- random: two files of one word are copies
    created INTEGER NOT NULL,
    fence   INTEGER NOT NULL DEFAULT 0, -- how many leases there were
    head    BLOB                        -- the hash of the last line about the ledger itself
) STRICT;

CREATE TABLE batch (
    id     INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    at     INTEGER NOT NULL
) STRICT;

-- The processes that work on rows now. Each holds the lock of a file beside the ledger.
CREATE TABLE run (
    word        TEXT PRIMARY KEY,
    process     INTEGER NOT NULL,
    began       INTEGER NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT;

-- Certificates of servers, and those above a device's own: each list once.
CREATE TABLE bundle (
    id     INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    pem    TEXT NOT NULL
) STRICT;

-- A manifest's row and its device, or a device alone. One that is in no batch and has no record is held for a device
-- that does not exist yet.
CREATE TABLE device (
    id             INTEGER PRIMARY KEY,
    name           TEXT UNIQUE,      -- none where the server makes one up
    mark           TEXT,             -- in place of the name then
    slot           TEXT,             -- the place of one that the server shall name, until it is finished
    batch          INTEGER REFERENCES batch (id),
    line           INTEGER,
    label          TEXT,
    serial         TEXT,
    mac            TEXT,
    key_type       TEXT,
    days           INTEGER,
    gateway        INTEGER NOT NULL DEFAULT 0,
    fields         TEXT,             -- JSON
    state          TEXT NOT NULL,
    due            INTEGER NOT NULL, -- whether a run has something to do with it
    retry_at       INTEGER NOT NULL DEFAULT 0,
    attempts       INTEGER NOT NULL DEFAULT 0,
    code           TEXT,
    step           TEXT,
    message        TEXT,
    ended          INTEGER,          -- when it came to its end
    run            TEXT,             -- who works on it
    fence          INTEGER NOT NULL DEFAULT 0,
    head           BLOB,             -- the hash of its last line
    removed        TEXT,             -- the name that it had
    server         TEXT,
    credentials_id TEXT,             -- of the current identity
    trust          INTEGER REFERENCES bundle (id),
    record         TEXT              -- JSON
) STRICT;

CREATE UNIQUE INDEX device_mark ON device (mark) WHERE mark IS NOT NULL;
CREATE UNIQUE INDEX device_slot ON device (slot) WHERE slot IS NOT NULL;
CREATE UNIQUE INDEX device_mac ON device (mac) WHERE mac IS NOT NULL;
CREATE UNIQUE INDEX device_credentials ON device (credentials_id, server) WHERE credentials_id IS NOT NULL;
CREATE INDEX device_state ON device (state);
CREATE INDEX device_free ON device (retry_at, id) WHERE due = 1 AND run IS NULL;
CREATE INDEX device_run ON device (run, fence) WHERE run IS NOT NULL;
CREATE INDEX device_ended ON device (state, ended) WHERE ended IS NOT NULL;
CREATE INDEX device_code ON device (code) WHERE code IS NOT NULL;

-- Written once, never changed.
CREATE TABLE identity (
    id     INTEGER PRIMARY KEY,
    device INTEGER NOT NULL REFERENCES device (id),
    name   TEXT NOT NULL,
    kind   TEXT NOT NULL,                     -- x509, access-token, mqtt-basic
    leaf   TEXT,                              -- PEM
    above  INTEGER REFERENCES bundle (id),
    place  TEXT,                              -- of the key: here, token, chip
    secret TEXT,                              -- the key's PEM, the token's URI, or JSON
    UNIQUE (device, name)
) STRICT;
CREATE TRIGGER identity_is_written_once BEFORE UPDATE ON identity
BEGIN SELECT RAISE(ABORT, 'an identity is written once'); END;

-- Which board has which device's identity.
CREATE TABLE board (
    id             INTEGER PRIMARY KEY,
    mac            TEXT NOT NULL,
    device         INTEGER NOT NULL REFERENCES device (id),
    chip           TEXT NOT NULL,
    credentials_id TEXT,
    image_sha256   TEXT,
    flashed        INTEGER NOT NULL,
    scrapped       INTEGER           -- when another took its place
) STRICT;
CREATE UNIQUE INDEX board_mac ON board (mac) WHERE scrapped IS NULL;
CREATE UNIQUE INDEX board_device ON board (device) WHERE scrapped IS NULL;
CREATE INDEX board_of ON board (device);

-- What happened: to a device, or to the ledger itself where there is none.
CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    device INTEGER REFERENCES device (id),
    at     INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    detail TEXT,                     -- JSON
    run    TEXT,
    fence  INTEGER NOT NULL,
    hash   BLOB NOT NULL
) STRICT;
CREATE INDEX event_device ON event (device);
CREATE TRIGGER event_is_not_changed BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'a history is not changed'); END;
CREATE TRIGGER event_is_not_deleted BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'a history is not changed'); END;
