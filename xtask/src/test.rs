#[derive(clap::Args)]
pub struct Test {}
impl Test { pub fn run(self) -> Result<(), crate::error::Error> { Ok(()) } }
