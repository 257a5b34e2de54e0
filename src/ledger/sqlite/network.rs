//! Whether a file lies on another machine: SQLite's locks do not hold there, and its shared memory is not shared
//! (sqlite.org/wal.html: "WAL does not work over a network filesystem").

use std::path::Path;

use crate::error::{Error, ErrorCode, Result};
use crate::text::{shown, shown_path};

/// Fails where `path`, a file or a folder, lies on a network file system.
///
/// # Errors
/// `ledger/network-drive`.
pub(super) fn check(path: &Path) -> Result<()> {
    let Some(kind) = kind_of(path) else { return Ok(()) };
    let message = format!(
        "{} is on a network drive ({}), where a ledger's locks do not hold",
        shown_path(path),
        shown(&kind)
    );
    Err(Error::new(ErrorCode::LedgerNetwork, message))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn kind_of(path: &Path) -> Option<String> {
    let known = rustix::fs::statfs(path).ok()?;
    #[allow(clippy::cast_sign_loss, reason = "its lower 32 bits are what the kernel says")]
    #[allow(clippy::unnecessary_cast, reason = "its type is another one on each architecture")]
    let magic = known.f_type as u64 & 0xFFFF_FFFF;
    if magic == FUSE {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        return of_fuse(&mounts, &path.canonicalize().ok()?);
    }
    of_magic(magic).map(str::to_owned)
}

#[cfg(target_vendor = "apple")]
fn kind_of(path: &Path) -> Option<String> {
    /// `MNT_LOCAL` of sys/mount.h.
    const LOCAL: u32 = 0x1000;
    let known = rustix::fs::statfs(path).ok()?;
    (known.f_flags & LOCAL == 0).then(|| "not of this machine".to_owned())
}

#[cfg(windows)]
fn kind_of(path: &Path) -> Option<String> {
    // A letter that stands for a network drive becomes its name.
    let whole = path.canonicalize().or_else(|_| path.parent().unwrap_or(path).canonicalize());
    is_unc(&whole.unwrap_or_else(|_| path.to_owned()).to_string_lossy()).then(|| "UNC".to_owned())
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple", windows)))]
fn kind_of(_: &Path) -> Option<String> {
    None
}

/// `FUSE_SUPER_MAGIC`: a file system of a program, which may be anywhere.
#[cfg(any(target_os = "linux", target_os = "android"))]
const FUSE: u64 = 0x6573_5546;

/// The network file systems among `statfs`'s types (linux/magic.h, statfs(2)).
#[cfg(any(test, target_os = "linux", target_os = "android"))]
const fn of_magic(magic: u64) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517B | 0xFF53_4D42 | 0xFE53_4D42 => "SMB",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x0102_1997 => "9p",
        0x00C3_6400 => "Ceph",
        0x7375_7245 => "Coda",
        0x564C => "NCP",
        0x0BD0_0BD0 => "Lustre",
        0x786F_4256 => "vboxsf",
        _ => return None,
    })
}

/// The programs behind FUSE whose files are on other machines.
#[cfg(any(test, target_os = "linux", target_os = "android"))]
const FUSE_NETWORKS: [&str; 14] = [
    "sshfs",
    "rclone",
    "glusterfs",
    "ceph",
    "ceph-fuse",
    "s3fs",
    "gcsfuse",
    "davfs",
    "davfs2",
    "smbnetfs",
    "curlftpfs",
    "juicefs",
    "moosefs",
    "nfs",
];

/// The network file system of `path` by the table of mounts (proc_pid_mountinfo(5)): that of the longest mount point
/// above it.
#[cfg(any(test, target_os = "linux", target_os = "android"))]
fn of_fuse(mounts: &str, path: &Path) -> Option<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?.replace("\\040", " ");
        path.starts_with(&point).then(|| (point.len(), after.split(' ').next().unwrap_or_default()))
    });
    // The last of one length is the one on top.
    let (_, kind) = mounted.max_by_key(|(length, _)| *length)?;
    let program = kind.strip_prefix("fuse.")?;
    FUSE_NETWORKS.contains(&program).then(|| program.to_owned())
}

/// Whether a path of Windows is one of another machine: `\\server\share`, `\\?\UNC\server\share`.
#[cfg(any(test, windows))]
fn is_unc(path: &str) -> bool {
    let path = path.replace('/', "\\");
    match path.strip_prefix("\\\\") {
        Some(rest) => match rest.strip_prefix("?\\").or_else(|| rest.strip_prefix(".\\")) {
            Some(device) => device.get(..4).is_some_and(|unc| unc.eq_ignore_ascii_case("UNC\\")),
            None => true,
        },
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_type() {
        for (magic, kind) in [
            (0x6969, Some("NFS")),
            (0xFF53_4D42, Some("SMB")),
            (0xFE53_4D42, Some("SMB")),
            (0x5346_414F, Some("AFS")),
            (0x0102_1997, Some("9p")),
            (0x00C3_6400, Some("Ceph")),
            // ext4, tmpfs, btrfs, xfs, overlayfs, zfs.
            (0xEF53, None),
            (0x0102_1994, None),
            (0x9123_683E, None),
            (0x5846_5342, None),
            (0x794C_7630, None),
            (0x2FC1_2FC1, None),
        ] {
            assert_eq!(of_magic(magic), kind, "{magic:x}");
        }
    }

    #[test]
    fn a_program_behind_fuse_is_known_by_the_mount() {
        let mounts = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
90 22 0:50 / /mnt/far rw,nosuid shared:9 - fuse.sshfs host:/srv rw
91 22 0:51 / /mnt/far/near rw - fuse.mergerfs a:b rw
92 22 0:52 / /mnt/two\\040words rw - fuse.rclone remote: rw
93 22 0:53 / /mnt/win rw - fuseblk /dev/sdb1 rw
";
        for (path, kind) in [
            ("/mnt/far/fleet.db", Some("sshfs")),
            ("/mnt/far/near/fleet.db", None),
            ("/mnt/two words/fleet.db", Some("rclone")),
            ("/mnt/win/fleet.db", None),
            ("/mnt/farther/fleet.db", None),
        ] {
            assert_eq!(of_fuse(mounts, Path::new(path)).as_deref(), kind, "{path}");
        }
    }

    #[test]
    fn a_share_of_windows_is_known_by_its_path() {
        for far in [r"\\server\share\fleet.db", r"\\?\UNC\server\share\fleet.db", "//server/share/fleet.db"] {
            assert!(is_unc(far), "{far}");
        }
        for near in [r"C:\fleet.db", r"\\?\C:\fleet.db", "fleet.db", r"\\.\C:\fleet.db"] {
            assert!(!is_unc(near), "{near}");
        }
    }

    #[test]
    fn a_folder_of_this_machine_is_fine() {
        assert!(check(tempfile::tempdir().unwrap().path()).is_ok());
    }
}
