//! On which processors each thread may run.
//!
//! Linux lets a thread that is bound to a processor run anywhere once that
//! processor is offline, and does not bind it again when it is back.

use crate::linux::cpu_list::MAX_PROCESSORS;
use crate::system::System;
use std::io;

/// `PF_NO_SETAFFINITY` of a thread's flags (Linux include/linux/sched.h).
const BOUND_BY_THE_KERNEL: u32 = 0x0400_0000;

const WORDS: usize = (MAX_PROCESSORS / u64::BITS) as usize;

/// One bit a processor, the first in bit 0 (`cpu_set_t`, of any size).
type Mask = [u64; WORDS];

/// What each thread of the machine was bound to.
#[derive(Debug)]
pub struct Affinities(Vec<(libc::pid_t, Box<Mask>)>);

impl Affinities {
    /// Those of all threads now, the kernel's among them.
    pub fn of_all(system: &System) -> Self {
        let threads = system
            .names("/proc")
            .into_iter()
            .filter(|name| is_number(name))
            .flat_map(|process| system.names(format!("/proc/{process}/task")));
        let threads = threads.filter_map(|thread| thread.parse().ok());
        // A thread that has ended since needs none.
        Self(threads.filter_map(|thread| Some((thread, get(thread).ok()?))).collect())
    }

    /// Lets every thread run on this processor too, so that Linux need not choose
    /// for those whose processors all go offline, which it tells in its log.
    pub fn widen_to(&self, processor: u32) {
        let (word, bit) = ((processor / u64::BITS) as usize, 1 << (processor % u64::BITS));
        for (thread, mask) in self.0.iter().filter(|(_, mask)| mask[word] & bit == 0) {
            let mut wider = mask.clone();
            wider[word] |= bit;
            // Refused for the kernel's own thread of a processor, which stops with it,
            // and outside a thread's cpuset, where Linux chooses after all.
            let _ = set(*thread, &wider);
        }
    }

    /// Gives each thread that has another one its own back; how many did not
    /// take it.
    pub fn restore(&self, system: &System) -> usize {
        let lost =
            self.0.iter().filter(|(thread, mask)| get(*thread).is_ok_and(|now| now != *mask));
        lost.filter(|(thread, mask)| set(*thread, mask).is_err_and(|error| !has_ended(&error)))
            .filter(|(thread, _)| !is_bound_by_the_kernel(system, *thread))
            .count()
    }
}

fn is_number(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the kernel alone says where a thread runs, and takes no other's word: it
/// binds the workers of its queues to their processor again by itself, and moves one
/// that helps out to where it is needed.
fn is_bound_by_the_kernel(system: &System, thread: libc::pid_t) -> bool {
    let stat = system.text(format!("/proc/{thread}/stat")).unwrap_or_default();
    // The name in brackets may have anything in it; the flags are the seventh field
    // after it (Linux Documentation/filesystems/proc.rst, "Contents of the stat fields").
    let flags = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(6));
    flags.and_then(|flags| flags.parse::<u32>().ok()).is_some_and(|f| f & BOUND_BY_THE_KERNEL != 0)
}

fn has_ended(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

fn get(thread: libc::pid_t) -> io::Result<Box<Mask>> {
    let mut mask = Box::new([0; WORDS]);
    // SAFETY: the call writes at most as many bytes as it is told, which the mask
    // has.
    let result =
        unsafe { libc::sched_getaffinity(thread, size_of::<Mask>(), mask.as_mut_ptr().cast()) };
    if result == 0 { Ok(mask) } else { Err(io::Error::last_os_error()) }
}

fn set(thread: libc::pid_t, mask: &Mask) -> io::Result<()> {
    // SAFETY: the call reads as many bytes as it is told, which the mask has.
    let result =
        unsafe { libc::sched_setaffinity(thread, size_of::<Mask>(), mask.as_ptr().cast()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mask with only the first processor of `mask`.
    fn first_of(mask: &Mask) -> Mask {
        let mut first = [0; WORDS];
        let word = mask.iter().position(|word| *word != 0).unwrap();
        first[word] = 1 << mask[word].trailing_zeros();
        first
    }

    #[test]
    fn a_thread_gets_back_what_it_was_bound_to() {
        // Of this thread alone: other tests run beside it.
        // SAFETY: the call has no conditions.
        let this = unsafe { libc::gettid() };
        let before = get(this).unwrap();
        let bound = first_of(&before);
        set(this, &bound).unwrap();
        let saved = Affinities(vec![(this, Box::new(bound))]);
        let last = before.iter().rposition(|word| *word != 0).unwrap();
        let last = last as u32 * u64::BITS + before[last].ilog2();
        saved.widen_to(last);
        assert_eq!(get(this).unwrap()[(last / u64::BITS) as usize] >> (last % u64::BITS), 1);
        assert_eq!(saved.restore(&System::this()), 0);
        assert_eq!(*get(this).unwrap(), bound);
        set(this, &before).unwrap();
    }

    #[test]
    fn every_thread_is_looked_at_and_ended_ones_are_passed_over() {
        let child = std::thread::spawn(|| {
            // SAFETY: the call has no conditions.
            (unsafe { libc::gettid() }, Affinities::of_all(&System::this()))
        });
        let (ended, saved) = child.join().unwrap();
        assert!(saved.0.iter().any(|(thread, _)| *thread == ended));
        let own = std::process::id().cast_signed();
        assert!(saved.0.iter().any(|(thread, _)| *thread == own));
        let gone = Affinities(saved.0.into_iter().filter(|(thread, _)| *thread == ended).collect());
        assert_eq!(gone.restore(&System::this()), 0);
    }

    #[test]
    fn workers_of_the_kernel_are_told_by_their_flags() {
        let root = tempfile::tempdir().unwrap();
        let write = |thread: u32, stat: &str| {
            let folder = root.path().join(format!("proc/{thread}"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("stat"), stat).unwrap();
        };
        // A worker of a queue, another thread of the kernel, and a program whose name looks
        // like the first.
        write(19, "19 (kworker/1:0-events) I 2 0 0 0 -1 69238880 0 0 0 0 0 0 0 0 20 0 1 0 2 0\n");
        write(31, "31 (kswapd0) S 2 0 0 0 -1 10619968 0 0 0 0 0 0 0 0 20 0 1 0 33 0 0\n");
        write(80, "80 (a) 0 69238880) S 1 80 80 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 44 0\n");
        let system = System::below(root.path());
        let bound = [19, 31, 80, 81].map(|thread| is_bound_by_the_kernel(&system, thread));
        assert_eq!(bound, [true, false, false, false]);
    }
}
