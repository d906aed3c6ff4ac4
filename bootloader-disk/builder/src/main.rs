//! Makes a disk that starts the reader by the loader of the `bootloader` crate.
//! `cargo xtask bootloader-disk` builds and runs this.

use bootloader::DiskImageBuilder;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str =
    "usage: dormouse-bootloader-disk STUB WRITER.BZIMAGE BIOS-DISK UEFI-DISK UEFI-FOLDER";

fn main() -> ExitCode {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let Ok([stub, writer, bios, uefi, folder]) = <[PathBuf; 5]>::try_from(paths) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut disk = DiskImageBuilder::new(stub);
    disk.set_ramdisk(writer);
    let made = disk
        .create_bios_image(&bios)
        .and_then(|()| disk.create_uefi_image(&uefi))
        .and_then(|()| disk.create_uefi_tftp_folder(&folder));
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
