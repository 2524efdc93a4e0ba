//! What libc says of time and chance on a thread that runs a world.
//!
//! Code that is shared with the product asks the kernel for two things besides sockets: the time (TLS checks certificates by it, Leases are stamped
//! with it) and random bytes (TLS, the seeds of hash maps and of tokio's `select!`). On a thread that has a world both come from that world, so the same
//! seed gives the same bytes. On every other thread, and in `tiergate-sim up`, the kernel answers as ever. The tiers' own programs hold none of this: it is
//! linked only where this crate is.
//!
//! ring asks by `syscall(SYS_getrandom)`, everything else by `getrandom`; `clock_gettime` is what std and jiff use.

#![expect(
    unsafe_code,
    reason = "functions of libc can only be replaced by functions of the same shape"
)]

use std::cell::Cell;

use nix::libc::{
    self, CLOCK_REALTIME, CLOCK_REALTIME_COARSE, SYS_clock_gettime, SYS_getrandom, c_int, c_long,
    c_void, clockid_t, size_t, ssize_t, timespec,
};

use super::clock;

thread_local! {
    /// The state of the generator that answers on this thread; nothing: the kernel answers.
    static ENTROPY: Cell<Option<u64>> = const { Cell::new(None) };
    /// How often this thread was given random bytes.
    static DRAWS: Cell<u64> = const { Cell::new(0) };
}

/// While it lives, this thread's time and chance are those of a world.
#[derive(Debug)]
pub(super) struct Interposed {
    /// It belongs to its thread.
    _here: std::marker::PhantomData<*const ()>,
}

// === impl Interposed ===

impl Interposed {
    /// Takes this thread.
    ///
    /// # Panics
    /// When the thread has a world already.
    pub(super) fn new(seed: u64) -> Self {
        let before = ENTROPY.replace(Some(seed));
        assert!(before.is_none(), "a thread runs one world at a time");
        DRAWS.set(0);
        Self {
            _here: std::marker::PhantomData,
        }
    }

    /// How often random bytes were drawn so far. Two runs that differ here have parted.
    #[expect(
        clippy::unused_self,
        reason = "only a thread that is taken has a count"
    )]
    pub(super) fn draws(&self) -> u64 {
        DRAWS.get()
    }
}

impl Drop for Interposed {
    fn drop(&mut self) {
        ENTROPY.set(None);
    }
}

/// Fills `length` bytes at `buffer`. False: this thread has no world.
///
/// # Safety
/// `buffer` must be writable for `length` bytes.
unsafe fn fill(buffer: *mut u8, length: usize) -> bool {
    // A thread that is ending has no state any more; it has no world either.
    let Ok(Some(mut state)) = ENTROPY.try_with(Cell::get) else {
        return false;
    };
    let mut done = 0;
    while done < length {
        // SplitMix64 (Steele, Lea, Flood 2014): every state is followed by another, and all bits are mixed.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let word = (mixed ^ (mixed >> 31)).to_le_bytes();
        let part = (length - done).min(word.len());
        // SAFETY: `done + part` is at most `length`, which the caller has promised.
        unsafe { std::ptr::copy_nonoverlapping(word.as_ptr(), buffer.add(done), part) };
        done += part;
    }
    ENTROPY.set(Some(state));
    DRAWS.set(DRAWS.get().wrapping_add(1));
    true
}

/// A system call, past libc. Returns what the kernel returns: a negative number is an error.
///
/// # Safety
/// As the call says.
#[cfg(target_arch = "x86_64")]
unsafe fn kernel(number: c_long, arguments: [c_long; 6]) -> c_long {
    let result: c_long;
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the registers are those of the x86-64 ABI of Linux; rcx and r11 are lost, as it says.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// A system call, past libc. Returns what the kernel returns: a negative number is an error.
///
/// # Safety
/// As the call says.
#[cfg(target_arch = "aarch64")]
unsafe fn kernel(number: c_long, arguments: [c_long; 6]) -> c_long {
    let result: c_long;
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the registers are those of the AArch64 ABI of Linux.
    unsafe {
        std::arch::asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c,
            in("x3") d, in("x4") e, in("x5") f, options(nostack));
    }
    result
}

/// As libc returns it: -1, and the error in `errno`.
fn returned(result: c_long) -> c_long {
    match c_int::try_from(result) {
        Ok(error @ -4095..0) => {
            nix::errno::Errno::from_raw(-error).set();
            -1
        }
        _ => result,
    }
}

/// `getrandom(2)`.
///
/// # Safety
/// `buffer` must be writable for `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, flags: u32) -> ssize_t {
    // SAFETY: the caller promises the buffer.
    if unsafe { fill(buffer.cast(), length) } {
        return length.cast_signed();
    }
    let arguments = [
        buffer as c_long,
        length as c_long,
        c_long::from(flags),
        0,
        0,
        0,
    ];
    // SAFETY: these are the arguments of that call.
    returned(unsafe { kernel(SYS_getrandom, arguments) }) as ssize_t
}

/// `syscall(2)`. It takes up to six arguments, and every one has the size of a register.
///
/// # Safety
/// As the call says.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    // SAFETY: the first two arguments of that call are a buffer and its length.
    if number == SYS_getrandom && unsafe { fill(a as *mut u8, b as usize) } {
        return b;
    }
    // SAFETY: they are passed on as they came.
    returned(unsafe { kernel(number, [a, b, c, d, e, f]) })
}

/// `clock_gettime(2)`.
///
/// # Safety
/// `time` must be writable.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    let is_simulated = matches!(ENTROPY.try_with(Cell::get), Ok(Some(_)));
    if !is_simulated {
        return real_clock(clock, time);
    }
    let now = if matches!(clock, CLOCK_REALTIME | CLOCK_REALTIME_COARSE) {
        clock::wall()
    } else {
        clock::monotonic()
    };
    // SAFETY: the caller promises the place.
    unsafe {
        *time = timespec {
            tv_sec: libc::time_t::try_from(now.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: c_long::from(now.subsec_nanos().cast_signed()),
        };
    }
    0
}

/// The kernel's answer. By the function that this one stands before, which needs no system call; by a system call where there is none.
fn real_clock(clock: clockid_t, time: *mut timespec) -> c_int {
    use std::sync::atomic::{AtomicPtr, Ordering};
    type ClockGettime = unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int;
    /// Not yet looked for: null. Not there: this.
    const ABSENT: *mut c_void = std::ptr::without_provenance_mut(1);
    static NEXT: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

    let mut next = NEXT.load(Ordering::Relaxed);
    if next.is_null() {
        // SAFETY: the name is a string that ends with a zero.
        next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"clock_gettime".as_ptr()) };
        if next.is_null() {
            next = ABSENT;
        }
        NEXT.store(next, Ordering::Relaxed);
    }
    if next == ABSENT {
        let arguments = [c_long::from(clock), time as c_long, 0, 0, 0, 0];
        // SAFETY: these are the arguments of that call.
        return returned(unsafe { kernel(SYS_clock_gettime, arguments) }) as c_int;
    }
    // SAFETY: libc's function of this name has this shape.
    unsafe { std::mem::transmute::<*mut c_void, ClockGettime>(next)(clock, time) }
}
