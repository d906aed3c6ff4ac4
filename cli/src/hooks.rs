//! The programs that want to know about sleep. The kexec door runs none of the
//! kernel's own notifiers, so this is what drivers' user space halves get.

use crate::error::{Error, Result};
use crate::output::Output;
use crate::system::System;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The system's hooks (systemd-suspend.service(8)).
const SYSTEM_SLEEP: &str = "/usr/lib/systemd/system-sleep";
/// Our own, before sleep.
const SLEEP: &str = "/etc/dormouse/sleep.d";
/// Our own, after waking or a failed attempt.
const WAKE: &str = "/etc/dormouse/wake.d";
/// Where NVIDIA's driver is told to save its video memory (its README, chapter
/// "Configuring Power Management Support").
const NVIDIA: &str = "/proc/driver/nvidia/suspend";

/// How long one program may take, in seconds.
const DEADLINE: i64 = 90;

/// What a hook may want to know, as it finds it in its environment.
type Variables = Vec<(&'static str, String)>;

/// What is about to happen.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    /// What systemd calls this kind of sleep.
    pub sleep: &'static str,
    /// What was asked for.
    pub action: &'static str,
    /// How often the image may be woken.
    pub kind: &'static str,
    /// Which of a series of reusable snapshots it is; 0 where it is none.
    pub generation: u32,
}

/// How it came out.
#[derive(Clone, Debug)]
pub struct Ending {
    /// As in `--json`: `woken` and so on.
    pub outcome: &'static str,
    /// Seconds between the jump and the return, by the clock on the wall.
    pub seconds: u64,
    /// Wake-ups from this image before this one.
    pub woken_before: u64,
    /// How good the random numbers are that the kernel was given, in bits.
    pub entropy_bits: u32,
}

/// The hooks, run before sleep; they are run again when this goes.
#[derive(Debug)]
pub struct Told<'a> {
    system: &'a System,
    occasion: Occasion,
    ending: Option<Ending>,
    output: Output,
}

impl<'a> Told<'a> {
    /// Tells everybody that the machine is about to sleep.
    ///
    /// A hook of the system that fails is reported and passed over, as systemd
    /// does. One of ours that fails is a veto.
    ///
    /// # Errors
    /// [`Error::Hook`]: all have been told that sleep is off.
    pub fn before_sleep(system: &'a System, occasion: Occasion, output: Output) -> Result<Self> {
        let told = Self { system, occasion, ending: None, output };
        for program in programs(system, SYSTEM_SLEEP) {
            if let Err(error) = told.run(&program, "pre") {
                output.warn(error.to_string());
            }
        }
        for program in programs(system, SLEEP) {
            told.run(&program, "pre")?;
        }
        told.tell_nvidia(if occasion.sleep == "suspend" { "suspend" } else { "hibernate" });
        Ok(told)
    }

    /// Keeps how it came out, for those who are told after it.
    pub fn ended(&mut self, ending: Ending) {
        self.ending = Some(ending);
    }

    fn run(&self, program: &Path, when: &str) -> Result<()> {
        run(program, when, self.occasion.sleep, self.variables(), self.output)
    }

    fn variables(&self) -> Variables {
        let Occasion { action, kind, generation, .. } = self.occasion;
        let mut variables = vec![
            ("DORMOUSE_ACTION", action.to_owned()),
            ("DORMOUSE_KIND", kind.to_owned()),
            ("DORMOUSE_GENERATION", generation.to_string()),
        ];
        if let Some(ending) = &self.ending {
            variables.extend([
                ("DORMOUSE_OUTCOME", ending.outcome.to_owned()),
                ("DORMOUSE_SECONDS", ending.seconds.to_string()),
                ("DORMOUSE_WOKEN_BEFORE", ending.woken_before.to_string()),
                ("DORMOUSE_ENTROPY_BITS", ending.entropy_bits.to_string()),
            ]);
        }
        variables
    }

    fn tell_nvidia(&self, word: &str) {
        if self.system.exists(NVIDIA)
            && let Err(error) = write(self.system.path(NVIDIA), word)
        {
            self.output.warn(format!("{NVIDIA}: {error}"));
        }
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.tell_nvidia("resume");
        for folder in [WAKE, SYSTEM_SLEEP] {
            for program in programs(self.system, folder) {
                if let Err(error) = self.run(&program, "post") {
                    self.output.warn(error.to_string());
                }
            }
        }
    }
}

/// The programs in a folder, in the order of their names.
fn programs(system: &System, folder: &str) -> Vec<PathBuf> {
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    let names = system.names(folder).into_iter();
    names.map(|name| system.path(folder).join(name)).filter(is_program).collect()
}

fn run(
    program: &Path,
    when: &str,
    sleep: &str,
    variables: Variables,
    output: Output,
) -> Result<()> {
    let failed = |how: String| Error::Hook { path: program.to_owned(), how };
    let mut child = Command::new(program)
        .args([when, sleep])
        .env("SYSTEMD_SLEEP_ACTION", sleep)
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(output.of_programs())
        .spawn()
        .map_err(|e| failed(format!("cannot be run: {e}")))?;
    match wait(&mut child).map_err(|e| failed(format!("cannot be waited for: {e}")))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(failed(format!("ended with {status}"))),
        None => Err(failed(format!("did not end within {DEADLINE} s and was stopped"))),
    }
}

/// How the program ended; `None` if it had to be killed.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut waited = [PollFd::new(&ended, PollFlags::IN)];
    let deadline = Timespec { tv_sec: DEADLINE, tv_nsec: 0 };
    if poll(&mut waited, Some(&deadline))? != 0 {
        return child.wait().map(Some);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A system with a hook in each of these folders that notes its call.
    fn system_with(hooks: &[(&str, &str)]) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        for (path, script) in hooks {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let log = root.path().join("log");
            let name = path.file_name().unwrap().to_str().unwrap();
            let note = format!("echo {name} $1 $2 >> {log}", log = log.display());
            let script = script.replace("LOG", &log.display().to_string());
            let text = format!("#!/bin/sh\n{note}\n{script}\n");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let system = System::below(root.path());
        (root, system)
    }

    fn log(root: &tempfile::TempDir) -> Vec<String> {
        let text = fs::read_to_string(root.path().join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    const HIBERNATE: Occasion =
        Occasion { sleep: "hibernate", action: "hibernate", kind: "once", generation: 0 };

    const SYSTEM_HOOK: (&str, &str) = ("usr/lib/systemd/system-sleep/system", "exit 3");

    #[test]
    fn hooks_are_told_before_and_after() {
        let (root, system) = system_with(&[
            SYSTEM_HOOK,
            ("etc/dormouse/sleep.d/20-second", ""),
            ("etc/dormouse/sleep.d/10-first", ""),
            ("etc/dormouse/wake.d/wake", ""),
        ]);
        drop(Told::before_sleep(&system, HIBERNATE, Output::new(true)).unwrap());
        assert_eq!(
            log(&root),
            [
                "system pre hibernate",
                "10-first pre hibernate",
                "20-second pre hibernate",
                "wake post hibernate",
                "system post hibernate",
            ]
        );
    }

    #[test]
    fn a_hook_of_ours_can_veto() {
        let (root, system) = system_with(&[SYSTEM_HOOK, ("etc/dormouse/sleep.d/veto", "exit 1")]);
        let error = Told::before_sleep(&system, HIBERNATE, Output::new(true)).unwrap_err();
        assert!(error.to_string().ends_with("ended with exit status: 1"), "{error}");
        assert_eq!(log(&root).last().unwrap(), "system post hibernate");
    }

    #[test]
    fn what_is_not_executable_is_passed_over() {
        let (root, system) = system_with(&[("etc/dormouse/sleep.d/veto", "exit 1")]);
        let path = root.path().join("etc/dormouse/sleep.d/veto");
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Told::before_sleep(&system, HIBERNATE, Output::new(true)).is_ok());
    }

    #[test]
    fn hooks_find_in_their_environment_what_happened() {
        let print = "echo $DORMOUSE_ACTION $DORMOUSE_KIND $DORMOUSE_GENERATION \
                     $DORMOUSE_OUTCOME $DORMOUSE_SECONDS $DORMOUSE_WOKEN_BEFORE >> LOG";
        let (root, system) =
            system_with(&[("etc/dormouse/sleep.d/a", print), ("etc/dormouse/wake.d/b", print)]);
        let occasion =
            Occasion { action: "snapshot", kind: "reusable", generation: 4, ..HIBERNATE };
        let mut told = Told::before_sleep(&system, occasion, Output::new(true)).unwrap();
        told.ended(Ending { outcome: "woken", seconds: 90, woken_before: 17, entropy_bits: 256 });
        drop(told);
        assert_eq!(
            log(&root),
            [
                "a pre hibernate",
                "snapshot reusable 4",
                "b post hibernate",
                "snapshot reusable 4 woken 90 17"
            ]
        );
    }
}
