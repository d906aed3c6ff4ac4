//! Makes a disk that starts the reader by the loader of the `bootloader` crate.
//! `cargo xtask bootloader-disk` builds and runs this.

mod stages;

use bootloader::DiskImageBuilder;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str =
    "usage: dormouse-bootloader-disk STUB WRITER.BZIMAGE BIOS-DISK UEFI-DISK FOLDER";

fn main() -> ExitCode {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let Ok([stub, writer, bios, uefi, folder]) = <[PathBuf; 5]>::try_from(paths) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match make(stub, writer, &bios, &uefi, &folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Makes both disks, and the files of both in a folder.
fn make(
    stub: PathBuf,
    writer: PathBuf,
    bios: &Path,
    uefi: &Path,
    folder: &Path,
) -> Result<(), Box<dyn Error>> {
    let mut disk = DiskImageBuilder::new(stub);
    disk.set_ramdisk(writer);
    disk.create_bios_image(bios)?;
    disk.create_uefi_image(uefi)?;
    disk.create_uefi_tftp_folder(folder)?;
    stages::write(bios, folder)
}
