#[derive(clap::Args)]
pub struct Qemu {}
impl Qemu { pub fn run(self) -> Result<(), crate::error::Error> { Ok(()) } }
