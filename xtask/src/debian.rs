//! A minimal Debian's root file system, made once and cached outside the tree.

use crate::error::Error;
use crate::{host, paths, shell};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SUITE: &str = "bookworm";

/// What it has beside the packages that every Debian has: systemd, a web server,
/// what `dormouse` starts.
const PACKAGES: &str = "kexec-tools,lighttpd,systemd-sysv,udev";

/// Room for that, and for what is laid over it; nobody writes to it later.
const SIZE: &str = "320M";

/// What is made in a folder that goes away again need not reach the disk at once.
const UNSYNCED: &str = "--dpkgopt=force-unsafe-io";

/// Its root as an ext4 file system, made if it is not in the cache: the only thing
/// here that needs the network.
pub fn ensure() -> Result<PathBuf, Error> {
    let folder = paths::cache().join("debian");
    let key = xxhash_rust::xxh64::xxh64(format!("{SUITE} {PACKAGES} {SIZE}").as_bytes(), 0);
    let image = folder.join(format!("{SUITE}-{key:016x}.ext4"));
    if image.exists() {
        return Ok(image);
    }
    host::ensure(host::FOR_DEBIAN)?;
    fs::create_dir_all(&folder).map_err(Error::file("making", &folder))?;
    eprintln!("making a minimal Debian (some 100 MB from the network, two minutes, once)");
    // A folder of this process's own, moved from at last, so that neither an
    // interruption nor another of these leaves half of it.
    let making = folder.join(format!("{SUITE}.making-{}", std::process::id()));
    let made = make(&making, &image);
    // Where nothing was made there is nothing to remove.
    let _ = fs::remove_dir_all(&making);
    made.map(|()| image)
}

/// By way of an archive: mmdebstrap mounts things where it works, and if it is ended
/// there, they stay. The tree has everybody's files, which takes root.
fn make(folder: &Path, image: &Path) -> Result<(), Error> {
    let [archive, tree, file] = ["root.tar", "tree", "root.ext4"].map(|name| folder.join(name));
    fs::create_dir_all(&tree).map_err(Error::file("making", &tree))?;
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--mode=root", "--variant=minbase", UNSYNCED, "--include", PACKAGES, SUITE]);
    shell::run(mmdebstrap.arg(&archive))?;
    shell::run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&tree))?;
    let mut mke2fs = Command::new("/sbin/mke2fs");
    mke2fs.args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"]).arg(tree);
    shell::run(mke2fs.arg(&file).arg(SIZE))?;
    fs::rename(&file, image).map_err(Error::file("moving", file))
}
