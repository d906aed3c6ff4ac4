//! What comes in over a socket, kept with the time of its arrival, for others
//! to wait for.

use crate::error::Error;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Items that a thread of its own reads from a socket.
#[derive(Clone)]
pub struct Inbox<T> {
    shared: Arc<(Mutex<State<T>>, Condvar)>,
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
    ) -> Self {
        let state = State { items: Vec::new(), closed: false };
        let inbox = Self { shared: Arc::new((Mutex::new(state), Condvar::new())) };
        let filled = Self { shared: inbox.shared.clone() };
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is the end as well: QEMU is gone.
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                let at = Instant::now();
                let items = decode(&bytes[..count]).into_iter().map(|item| (at, item));
                filled.lock().items.extend(items);
                filled.shared.1.notify_all();
            }
            filled.lock().closed = true;
            filled.shared.1.notify_all();
        });
        inbox
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
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
