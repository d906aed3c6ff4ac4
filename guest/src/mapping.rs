//! Memory mappings as slices of words.

use crate::error::Error;
use rustix::fd::AsFd;
use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use std::ptr::NonNull;

/// A mapping that this process made and that nothing but the shared object
/// behind it, if there is one, can change.
pub struct Mapping {
    start: NonNull<u64>,
    bytes: usize,
    release: Release,
}

/// Has the kernel treat as many pages as broken (madvise(2), `MADV_HWPOISON`).
/// Nobody can touch them any more.
pub fn break_pages(pages: u64) -> Result<(), Error> {
    let mut mapping = Mapping::anonymous(pages as usize * 4096, MapFlags::POPULATE)?;
    mapping.words_mut().fill(0x6272_6f6b_656e);
    mapping.advise(Advice::LinuxHwPoison)
}

/// How a mapping goes away.
#[derive(Clone, Copy)]
enum Release {
    Unmap,
    DetachSharedMemory,
}

// SAFETY: the mapping belongs to whoever has the value; nothing in it is bound
// to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// New anonymous memory, all zero.
    pub fn anonymous(bytes: usize, flags: MapFlags) -> Result<Self, Error> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address that nothing else uses.
        let start = unsafe {
            mm::mmap_anonymous(std::ptr::null_mut(), bytes, access, MapFlags::PRIVATE | flags)
        }
        .map_err(Error::refused(format!("mapping {bytes} bytes")))?;
        Self::at(start, bytes, Release::Unmap)
    }

    /// `bytes` of the file behind `file`, shared.
    pub fn shared(file: impl AsFd, bytes: usize) -> Result<Self, Error> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address that nothing else uses.
        let start =
            unsafe { mm::mmap(std::ptr::null_mut(), bytes, access, MapFlags::SHARED, file, 0) }
                .map_err(Error::refused("mapping a shared file"))?;
        Self::at(start, bytes, Release::Unmap)
    }

    /// The System V segment `id`, which has at least `bytes`.
    pub fn system_v(id: i32, bytes: usize) -> Result<Self, Error> {
        // SAFETY: the kernel chooses an address that nothing else uses.
        let start = unsafe { libc::shmat(id, std::ptr::null(), 0) };
        if start as isize == -1 {
            return Err(Error::refused("shmat")(std::io::Error::last_os_error()));
        }
        Self::at(start, bytes, Release::DetachSharedMemory)
    }

    fn at(start: *mut libc::c_void, bytes: usize, release: Release) -> Result<Self, Error> {
        let start = NonNull::new(start.cast())
            .ok_or_else(|| Error::Lost("the kernel mapped address zero".into()))?;
        Ok(Self { start, bytes, release })
    }

    /// Tells the kernel how the mapping is used.
    pub fn advise(&self, advice: Advice) -> Result<(), Error> {
        // SAFETY: the range is this mapping, and nothing reads it after the one
        // advice that changes its contents: that it is broken.
        unsafe { mm::madvise(self.start.as_ptr().cast(), self.bytes, advice) }
            .map_err(Error::refused("madvise"))
    }

    /// The mapping's contents.
    pub fn words(&self) -> &[u64] {
        // SAFETY: the range is mapped readable for as long as `self` lives,
        // page-aligned, and all bit patterns are words.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes / 8) }
    }

    /// The mapping's contents, to be changed.
    pub fn words_mut(&mut self) -> &mut [u64] {
        // SAFETY: as in `words`, and writable; `&mut self` makes it exclusive
        // within this process, and shared objects are written only before
        // their second mapping is read.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes / 8) }
    }

    /// The mapping's contents as bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: as in `words`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.bytes) }
    }

    /// The mapping's contents as bytes, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `words_mut`.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.bytes) }
    }

    /// How many of the mapping's pages are in memory (mincore(2)).
    pub fn resident_pages(&self) -> Result<usize, Error> {
        let mut states = vec![0u8; self.bytes.div_ceil(4096)];
        // SAFETY: the range is this mapping, and `states` has a byte for each
        // of its pages.
        let result =
            unsafe { libc::mincore(self.start.as_ptr().cast(), self.bytes, states.as_mut_ptr()) };
        if result != 0 {
            return Err(Error::refused("mincore")(std::io::Error::last_os_error()));
        }
        Ok(states.iter().filter(|state| *state & 1 != 0).count())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // A failure here leaves the mapping to the end of the process.
        // SAFETY: nothing borrows the mapping any more.
        unsafe {
            match self.release {
                Release::Unmap => {
                    let _ = mm::munmap(self.start.as_ptr().cast(), self.bytes);
                }
                Release::DetachSharedMemory => {
                    libc::shmdt(self.start.as_ptr().cast());
                }
            }
        }
    }
}
