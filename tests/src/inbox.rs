//! What comes in over a socket, kept with the time of its arrival, for others
//! to wait for.

use crate::error::Error;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Items that a thread of its own reads from a socket.
#[derive(Clone)]
pub struct Inbox<T> {
    shared: Arc<(Mutex<State<T>>, Condvar)>,
    /// To ask how much lies unread in the socket.
    unread: Arc<UnixStream>,
}

struct State<T> {
    items: Vec<(Instant, T)>,
    closed: bool,
}

/// An item that was waited for.
pub struct Found<R> {
    /// What was made of the item.
    pub value: R,
    /// Its place in the inbox.
    pub index: usize,
    /// When it came in.
    pub at: Instant,
}

impl<T: Send + 'static> Inbox<T> {
    /// Reads `stream` until it ends; `decode` makes items of bytes.
    pub fn reading(
        mut stream: UnixStream,
        mut decode: impl FnMut(&[u8]) -> Vec<T> + Send + 'static,
    ) -> Result<Self, Error> {
        let unread = stream.try_clone().map_err(Error::host("cloning a socket"))?;
        let state = State { items: Vec::new(), closed: false };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let inbox = Self { shared, unread: Arc::new(unread) };
        let filled = inbox.shared.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let there = wait_until_readable(&stream);
                // Whoever holds the lock sees what is unread in the socket and
                // what has been taken from it, and nothing is in between.
                let mut state = lock(&filled);
                // An error is the end as well: QEMU is gone.
                match there.and_then(|()| stream.read(&mut bytes)) {
                    Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                    Ok(count @ 1..) => {
                        let at = Instant::now();
                        let items = decode(&bytes[..count]).into_iter().map(|item| (at, item));
                        state.items.extend(items);
                    }
                    Ok(0) | Err(_) => state.closed = true,
                }
                filled.1.notify_all();
                if state.closed {
                    return;
                }
            }
        });
        Ok(inbox)
    }

    /// Waits until all that has been sent so far is here.
    pub fn catch_up(&self, awaited: &str, patience: Duration) -> Result<(), Error> {
        self.wait(awaited, patience, |state| {
            let unread = rustix::io::ioctl_fionread(&self.unread);
            Ok(state.closed || unread.map_err(Error::host("looking into a socket"))? == 0)
        })
    }

    /// Waits until the other end has closed the socket, and all that it had
    /// sent is here.
    pub fn wait_until_closed(&self, awaited: &str, patience: Duration) -> Result<(), Error> {
        self.wait(awaited, patience, |state| Ok(state.closed))
    }

    fn wait(
        &self,
        awaited: &str,
        patience: Duration,
        mut done: impl FnMut(&State<T>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        while !done(&state)? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Deadline { awaited: awaited.into(), waited: patience });
            }
            let waited = self.shared.1.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Waits for the first item, from index `from` on, of which `pick` makes
    /// something. Items that came before the socket was closed still count.
    pub fn find<R>(
        &self,
        awaited: &str,
        from: usize,
        patience: Duration,
        mut pick: impl FnMut(&T) -> Option<R>,
    ) -> Result<Found<R>, Error> {
        let deadline = Instant::now() + patience;
        let mut next = from;
        let mut state = self.lock();
        loop {
            while let Some((at, item)) = state.items.get(next) {
                if let Some(value) = pick(item) {
                    return Ok(Found { value, index: next, at: *at });
                }
                next += 1;
            }
            if state.closed {
                return Err(Error::Ended { awaited: awaited.into(), how: "line closed".into() });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Deadline { awaited: awaited.into(), waited: patience });
            }
            let waited = self.shared.1.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All items so far, seen one by one.
    pub fn for_each(&self, mut see: impl FnMut(&T)) {
        self.lock().items.iter().for_each(|(_, item)| see(item));
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.shared)
    }
}

fn lock<T>(shared: &(Mutex<State<T>>, Condvar)) -> MutexGuard<'_, State<T>> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for bytes, or for the end of the stream.
fn wait_until_readable(stream: &UnixStream) -> std::io::Result<()> {
    loop {
        match rustix::event::poll(&mut [PollFd::new(stream, PollFlags::IN)], None) {
            Err(Errno::INTR) => {}
            result => return result.map(drop).map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn caught_up_with_is_what_was_sent_before() {
        let (mut sender, receiver) = UnixStream::pair().unwrap();
        let inbox = Inbox::reading(receiver, <[u8]>::to_vec).unwrap();
        let mut sent = Vec::new();
        for number in 0..500_usize {
            let piece: Vec<u8> = (0..1 + number * 7 % 9000).map(|i| (number + i) as u8).collect();
            sender.write_all(&piece).unwrap();
            sent.extend(piece);
            inbox.catch_up("the pieces", PATIENCE).unwrap();
            assert_eq!(inbox.lock().items.len(), sent.len());
        }
        drop(sender);
        inbox.wait_until_closed("the end", PATIENCE).unwrap();
        let mut received = Vec::new();
        inbox.for_each(|byte| received.push(*byte));
        assert_eq!(received, sent, "each once, in order");
    }

    #[test]
    fn an_end_that_does_not_come_is_an_error() {
        let (_sender, receiver) = UnixStream::pair().unwrap();
        let inbox = Inbox::reading(receiver, <[u8]>::to_vec).unwrap();
        inbox.catch_up("nothing", PATIENCE).unwrap();
        let ended = inbox.wait_until_closed("the end", Duration::from_millis(1));
        assert!(matches!(ended, Err(Error::Deadline { .. })));
    }
}
