//! Proof that `process()` keeps the realtime rule: no allocation, no system call but a wake-up,
//! no clock.
//!
//! Three traps, all seen only between [`watch`]'s begin and end on a thread that called [`arm`]:
//!
//! - **Memory.** This program defines `malloc`, `free` and their kin. The dynamic linker resolves
//!   a symbol in the program first, so the plugin's library, libopus in it and Rust's allocator
//!   all arrive here, and are passed on to glibc's `__libc_malloc` and so on.
//! - **System calls.** A seccomp filter on the thread turns each one into SIGSYS, except those
//!   made from one instruction of ours: there the signal's handler makes the call in its stead,
//!   after noting it down. So the thread works as usual and nothing goes unseen, however it is
//!   called. Only starting and ending a thread goes past the handler, which cannot do it for
//!   another; a thread's start shows in the calls that prepare its stack.
//! - **The clock.** Reading it is no system call (vDSO), so `clock_gettime` is defined here, too.
//!
//! A write to an eventfd is a *wake-up* and counted apart: one per call is allowed.
//!
//! Linux on x86-64 with glibc only: the rule is about our code, which is the same everywhere.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_long, c_void};
use std::fmt;
use std::sync::OnceLock;

use anyhow::{Result, ensure};

/// Most violations of which the place is remembered.
const MAX_NOTES: usize = 8;
/// Deepest call stack remembered.
const MAX_DEPTH: usize = 32;

/// Puts the calling thread under watch, for ever: start a thread for it.
pub fn arm() -> Result<()> {
    install_handler()?;
    // The unwinder allocates when it is used first: that must not be inside of a trap.
    let mut frames = [std::ptr::null_mut::<c_void>(); 4];
    // SAFETY: the buffer has room for the number of frames that is given.
    unsafe { libc::backtrace(frames.as_mut_ptr(), 4) };
    install_filter()?;
    WATCH.with(|watch| watch.armed.set(true));
    Ok(())
}

/// Runs one `process()` call. On a thread that is not [`arm`]ed nothing is watched.
pub fn watch<R>(call: impl FnOnce() -> R) -> R {
    WATCH.with(|watch| {
        watch.wakeups.set(0);
        watch.active.set(watch.armed.get());
        let result = call();
        watch.active.set(false);
        let counts = &watch.counts;
        counts.calls.set(counts.calls.get() + 1);
        counts.wakeups.set(counts.wakeups.get() + u64::from(watch.wakeups.get()));
        counts.most_wakeups.set(counts.most_wakeups.get().max(watch.wakeups.get()));
        result
    })
}

/// What has been seen on the calling thread since it was armed.
pub fn report() -> Report {
    WATCH.with(|watch| Report {
        calls: watch.counts.calls.get(),
        allocations: watch.counts.allocations.get(),
        frees: watch.counts.frees.get(),
        clock_reads: watch.counts.clock_reads.get(),
        system_calls: watch.counts.system_calls.get(),
        other_wakes: watch.counts.other_wakes.get(),
        wakeups: watch.counts.wakeups.get(),
        most_wakeups: watch.counts.most_wakeups.get(),
        // SAFETY: only this thread touches its notes, and it is here.
        places: unsafe { &*watch.notes.get() }.iter().take(watch.noted.get()).map(describe).collect(),
    })
}

/// What one thread did inside [`watch`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Watched calls.
    pub calls: u64,
    /// Memory allocated, grown or shrunk: times.
    pub allocations: u64,
    /// Memory freed: times.
    pub frees: u64,
    /// Clock reads.
    pub clock_reads: u64,
    /// System calls other than wake-ups.
    pub system_calls: u64,
    /// Wake-ups of another kind, by a futex or a write to a socket: not among `system_calls`, and
    /// not allowed either.
    pub other_wakes: u64,
    /// Writes to an eventfd.
    pub wakeups: u64,
    /// The most of them in one call.
    pub most_wakeups: u32,
    /// Where the first violations happened.
    pub places: Vec<String>,
}

impl Report {
    /// Whether the realtime rule was kept: nothing but one wake-up per call, and calls at all.
    pub fn is_clean(&self) -> bool {
        self.is_clean_but_for_other_wakes() && self.other_wakes == 0
    }

    /// Whether the realtime rule was kept except that threads were woken by futexes and sockets, too.
    pub fn is_clean_but_for_other_wakes(&self) -> bool {
        self.calls > 0
            && self.allocations + self.frees + self.clock_reads + self.system_calls == 0
            && self.most_wakeups <= 1
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls: {} allocations, {} frees, {} clock reads, {} system calls, {} other wakes, \
             {} wake-ups (at most {} in a call)",
            self.calls,
            self.allocations,
            self.frees,
            self.clock_reads,
            self.system_calls,
            self.other_wakes,
            self.wakeups,
            self.most_wakeups
        )?;
        self.places.iter().try_for_each(|place| write!(f, "\n{place}"))
    }
}

#[derive(Clone, Copy)]
enum Violation {
    Allocation,
    Free,
    Clock,
    OtherWake,
    SystemCall(c_long),
}

#[derive(Clone, Copy)]
struct Note {
    violation: Violation,
    frames: [*mut c_void; MAX_DEPTH],
    depth: usize,
}

struct Counts {
    calls: Cell<u64>,
    allocations: Cell<u64>,
    frees: Cell<u64>,
    clock_reads: Cell<u64>,
    system_calls: Cell<u64>,
    other_wakes: Cell<u64>,
    wakeups: Cell<u64>,
    most_wakeups: Cell<u32>,
}

/// One thread's watch. Built at compile time and without a destructor, so that reaching it costs
/// neither an allocation nor a system call, from `malloc` or a signal handler alike.
struct Watch {
    armed: Cell<bool>,
    active: Cell<bool>,
    wakeups: Cell<u32>,
    counts: Counts,
    notes: UnsafeCell<[Note; MAX_NOTES]>,
    noted: Cell<usize>,
}

thread_local! {
    static WATCH: Watch = const {
        Watch {
            armed: Cell::new(false),
            active: Cell::new(false),
            wakeups: Cell::new(0),
            counts: Counts {
                calls: Cell::new(0),
                allocations: Cell::new(0),
                frees: Cell::new(0),
                clock_reads: Cell::new(0),
                system_calls: Cell::new(0),
                other_wakes: Cell::new(0),
                wakeups: Cell::new(0),
                most_wakeups: Cell::new(0),
            },
            notes: UnsafeCell::new(
                [Note { violation: Violation::Free, frames: [std::ptr::null_mut(); MAX_DEPTH], depth: 0 }; MAX_NOTES],
            ),
            noted: Cell::new(0),
        }
    };
}

fn note(violation: Violation) {
    WATCH.with(|watch| {
        if !watch.active.replace(false) {
            return;
        }
        let count = match violation {
            Violation::Allocation => &watch.counts.allocations,
            Violation::Free => &watch.counts.frees,
            Violation::Clock => &watch.counts.clock_reads,
            Violation::OtherWake => &watch.counts.other_wakes,
            Violation::SystemCall(_) => &watch.counts.system_calls,
        };
        count.set(count.get() + 1);
        let index = watch.noted.get();
        if index < MAX_NOTES {
            let mut frames = [std::ptr::null_mut(); MAX_DEPTH];
            // SAFETY: the buffer has room for the number of frames that is given.
            let depth = unsafe { libc::backtrace(frames.as_mut_ptr(), MAX_DEPTH as c_int) };
            // SAFETY: only this thread touches its notes, and `active` was taken, so not twice at a time.
            unsafe { (*watch.notes.get())[index] = Note { violation, frames, depth: depth.max(0) as usize } };
            watch.noted.set(index + 1);
        }
        watch.active.set(true);
    });
}

fn describe(note: &Note) -> String {
    let mut text = match note.violation {
        Violation::Allocation => "allocation".to_owned(),
        Violation::Free => "free".to_owned(),
        Violation::Clock => "clock read".to_owned(),
        Violation::OtherWake => "wake by futex or socket".to_owned(),
        Violation::SystemCall(number) => format!("system call {number}"),
    };
    for &frame in &note.frames[..note.depth] {
        text.push_str("\n    ");
        text.push_str(&place(frame));
    }
    text
}

/// `file+offset (symbol)` of a return address: what addr2line takes.
fn place(address: *mut c_void) -> String {
    let mut info = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    // SAFETY: `info` outlives the call, which only writes to it.
    if unsafe { libc::dladdr(address, &mut info) } == 0 || info.dli_fname.is_null() {
        return format!("{address:p}");
    }
    // SAFETY: dladdr's texts belong to the loaded object, and none is unloaded here.
    let file = unsafe { std::ffi::CStr::from_ptr(info.dli_fname) }.to_string_lossy();
    let offset = (address as usize).wrapping_sub(info.dli_fbase as usize);
    if info.dli_sname.is_null() {
        return format!("{file}+{offset:#x}");
    }
    // SAFETY: as above.
    let symbol = unsafe { std::ffi::CStr::from_ptr(info.dli_sname) }.to_string_lossy();
    format!("{file}+{offset:#x} ({symbol})")
}

// --- memory and clock: symbols that the dynamic linker finds before glibc's ---

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(memory: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_free(memory: *mut c_void);
    fn __libc_memalign(alignment: usize, size: usize) -> *mut c_void;
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    note(Violation::Allocation);
    // SAFETY: passed on as it came.
    unsafe { __libc_malloc(size) }
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    note(Violation::Allocation);
    // SAFETY: passed on as it came.
    unsafe { __libc_calloc(count, size) }
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(memory: *mut c_void, size: usize) -> *mut c_void {
    note(Violation::Allocation);
    // SAFETY: passed on as it came.
    unsafe { __libc_realloc(memory, size) }
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(memory: *mut c_void) {
    if !memory.is_null() {
        note(Violation::Free);
    }
    // SAFETY: passed on as it came.
    unsafe { __libc_free(memory) }
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    note(Violation::Allocation);
    // SAFETY: passed on as it came.
    unsafe { __libc_memalign(alignment, size) }
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memalign(alignment: usize, size: usize) -> *mut c_void {
    note(Violation::Allocation);
    // SAFETY: passed on as it came.
    unsafe { __libc_memalign(alignment, size) }
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    note(Violation::Allocation);
    if !alignment.is_power_of_two() || !alignment.is_multiple_of(size_of::<usize>()) {
        return libc::EINVAL;
    }
    // SAFETY: passed on as it came.
    let memory = unsafe { __libc_memalign(alignment, size) };
    if memory.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller gives a place for the result.
    unsafe { *out = memory };
    0
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    type ClockGettime = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int;
    static REAL: OnceLock<Option<ClockGettime>> = OnceLock::new();
    note(Violation::Clock);
    let real = REAL.get_or_init(|| {
        // SAFETY: a symbol of glibc by its name, called with the type that C declares.
        unsafe {
            let symbol = libc::dlsym(libc::RTLD_NEXT, c"clock_gettime".as_ptr());
            (!symbol.is_null()).then(|| std::mem::transmute::<*mut c_void, ClockGettime>(symbol))
        }
    });
    match real {
        // SAFETY: passed on as it came.
        Some(real) => unsafe { real(clock, time) },
        // SAFETY: as above; without the vDSO, but right.
        None => unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int },
    }
}

// --- system calls ---

std::arch::global_asm!(
    // jamulet_guard_call(number, a1, a2, a3, a4, a5, a6) -> result or -errno
    ".globl jamulet_guard_call",
    "jamulet_guard_call:",
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "mov rdx, rcx",
    "mov r10, r8",
    "mov r8, r9",
    "mov r9, [rsp + 8]",
    "syscall",
    ".globl jamulet_guard_called",
    "jamulet_guard_called:",
    "ret",
);

unsafe extern "C" {
    fn jamulet_guard_call(number: i64, a1: i64, a2: i64, a3: i64, a4: i64, a5: i64, a6: i64) -> i64;
    /// Where the kernel returns to after a call made by the function above.
    fn jamulet_guard_called();
}

/// SIGSYS's `si_code` for "a seccomp filter returned RET_TRAP".
const SYS_SECCOMP: c_int = 1;

fn install_handler() -> Result<()> {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    let installed = *INSTALLED.get_or_init(|| {
        // SAFETY: an all-zero sigaction is valid; the handler has the type that SA_SIGINFO asks for.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_system_call as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_NODEFER;
            libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut()) == 0
        }
    });
    ensure!(installed, "no handler for SIGSYS could be installed");
    Ok(())
}

/// Makes the system call that the filter stopped, having noted it down if it is under watch.
extern "C" fn on_system_call(_signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes valid pointers to a handler with SA_SIGINFO, and of these types.
    let (info, context) = unsafe { (&*info, &mut *context.cast::<libc::ucontext_t>()) };
    let registers = &mut context.uc_mcontext.gregs;
    if info.si_code != SYS_SECCOMP {
        return;
    }
    let number = registers[libc::REG_RAX as usize];
    let argument = [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10, libc::REG_R8, libc::REG_R9]
        .map(|register| registers[register as usize]);
    WATCH.with(|watch| {
        if !watch.active.get() {
            return;
        }
        let futex_operation = argument[1] as c_int & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
        match (number, written_to(number, argument[0])) {
            (libc::SYS_write, Written::Eventfd) => watch.wakeups.set(watch.wakeups.get() + 1),
            (libc::SYS_write, Written::Socket) => note(Violation::OtherWake),
            (libc::SYS_futex, _) if futex_operation == libc::FUTEX_WAKE => note(Violation::OtherWake),
            _ => note(Violation::SystemCall(number)),
        }
    });
    // SAFETY: the very call that the thread wanted to make, with its own arguments.
    let result = unsafe {
        let [a1, a2, a3, a4, a5, a6] = argument;
        jamulet_guard_call(number, a1, a2, a3, a4, a5, a6)
    };
    registers[libc::REG_RAX as usize] = result;
}

/// What a call writes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Eventfd,
    Socket,
    Anything,
}

/// What `file` is, if `number` is a call that writes to it.
fn written_to(number: c_long, file: i64) -> Written {
    if number != libc::SYS_write {
        return Written::Anything;
    }
    let mut link = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut digits = [0_u8; 10];
    let mut rest = file.unsigned_abs();
    let mut count = 0;
    while count == 0 || (rest > 0 && count < digits.len()) {
        digits[count] = b'0' + (rest % 10) as u8;
        rest /= 10;
        count += 1;
    }
    for (place, digit) in link[14..].iter_mut().zip(digits[..count].iter().rev()) {
        *place = *digit;
    }
    let mut target = [0_u8; 64];
    // SAFETY: a path that ends with NUL, and a buffer of the length given.
    let length = unsafe {
        let (path, buffer) = (link.as_ptr() as i64, target.as_mut_ptr() as i64);
        jamulet_guard_call(libc::SYS_readlink, path, buffer, target.len() as i64, 0, 0, 0)
    };
    let target = target.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
    if target.starts_with(b"anon_inode:[eventfd]") {
        Written::Eventfd
    } else if target.starts_with(b"socket:") {
        Written::Socket
    } else {
        Written::Anything
    }
}

/// Turns every system call of this thread into SIGSYS, except those that a handler must make.
fn install_filter() -> Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // Offsets in `struct seccomp_data`.
    const NUMBER: u32 = 0;
    const POINTER_LOW: u32 = 8;
    const POINTER_HIGH: u32 = 12;
    let own = jamulet_guard_called as *const () as u64;
    let passed =
        [libc::SYS_rt_sigreturn, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_clone, libc::SYS_clone3];

    let line = |code, k, if_true, if_false| libc::sock_filter { code, jt: if_true, jf: if_false, k };
    let mut program = vec![
        line(LOAD, POINTER_LOW, 0, 0),
        line(JUMP_IF_EQUAL, own as u32, 0, 3),
        line(LOAD, POINTER_HIGH, 0, 0),
        line(JUMP_IF_EQUAL, (own >> 32) as u32, 0, 1),
        line(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        line(LOAD, NUMBER, 0, 0),
    ];
    for number in passed {
        program.push(line(JUMP_IF_EQUAL, number as u32, 0, 1));
        program.push(line(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    }
    program.push(line(RETURN, libc::SECCOMP_RET_TRAP, 0, 0));
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program is valid BPF and outlives the calls, which touch this thread only.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
    };
    ensure!(done, "the kernel refuses a seccomp filter: {}", std::io::Error::last_os_error());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    /// What an armed thread is seen to do in `call`.
    fn observed(call: impl FnOnce() + Send + 'static) -> Report {
        let thread = std::thread::Builder::new().spawn(move || {
            arm().unwrap();
            watch(call);
            report()
        });
        thread.unwrap().join().unwrap()
    }

    #[test]
    fn arithmetic_is_clean() {
        let report = observed(|| {
            black_box((0..1000).map(|n| (n as f32).sin()).sum::<f32>());
        });
        assert!(report.is_clean(), "{report}");
        assert_eq!((report.calls, report.wakeups), (1, 0));
    }

    #[test]
    fn nothing_is_proved_by_no_calls() {
        assert!(!Report::default().is_clean());
    }

    #[test]
    fn an_allocation_is_seen() {
        let report = observed(|| drop(black_box(Box::new([0_u8; 100]))));
        assert_eq!((report.allocations, report.frees), (1, 1), "{report}");
        assert!(!report.is_clean());
    }

    #[test]
    fn an_aligned_and_a_growing_allocation_are_seen() {
        #[repr(align(64))]
        struct Aligned([u8; 64]);
        let report = observed(|| assert_eq!(black_box(Box::new(Aligned([0; 64]))).0[0], 0));
        assert!(report.allocations >= 1, "{report}");
        let mut memory = black_box(vec![1_u8]);
        let report = observed(move || memory.reserve_exact(1000));
        assert!(report.allocations >= 1, "{report}");
    }

    #[test]
    fn an_allocation_of_c_code_in_a_library_is_seen() {
        let report = observed(|| {
            // SAFETY: strdup is called with a C string, and what it returns is freed by free.
            unsafe { libc::free(black_box(libc::strdup(black_box(c"from within glibc").as_ptr())).cast()) }
        });
        assert_eq!((report.allocations, report.frees), (1, 1), "{report}");
    }

    #[test]
    fn output_is_seen() {
        use std::io::Write;
        let mut file = tempfile::tempfile().unwrap();
        let report = observed(move || {
            file.write_all(b"a line of a log\n").unwrap();
            std::mem::forget(file);
        });
        assert_eq!((report.system_calls, report.wakeups), (1, 0), "{report}");
    }

    #[test]
    fn wakes_by_futex_and_socket_are_seen_apart() {
        let report = observed(|| {
            let word = 0_u32;
            // SAFETY: nobody waits on this word of our own, so nothing happens.
            unsafe { libc::syscall(libc::SYS_futex, &word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1) };
        });
        assert_eq!((report.other_wakes, report.system_calls), (1, 0), "{report}");
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        let report = observed(move || {
            let file = std::os::fd::AsRawFd::as_raw_fd(&near);
            // SAFETY: one byte is written from a buffer of one.
            unsafe { libc::write(file, b"x".as_ptr().cast(), 1) };
            std::mem::forget(near);
        });
        assert_eq!((report.other_wakes, report.system_calls), (1, 0), "{report}");
        assert!(!report.is_clean() && report.is_clean_but_for_other_wakes());
    }

    #[test]
    fn a_clock_and_a_sleep_are_seen() {
        #[expect(clippy::disallowed_methods, reason = "reading the clock is what is tested")]
        let report = observed(|| {
            black_box(std::time::Instant::now());
        });
        assert_eq!(report.clock_reads, 1, "{report}");
        #[expect(clippy::disallowed_methods, reason = "sleeping is what is tested")]
        let report = observed(|| std::thread::sleep(std::time::Duration::from_micros(1)));
        assert!(report.system_calls >= 1, "{report}");
    }

    #[test]
    fn a_raw_system_call_is_seen_and_works() {
        let report = observed(|| {
            let thread: i64;
            // SAFETY: gettid takes no arguments and touches no memory.
            unsafe {
                std::arch::asm!("syscall", inout("rax") libc::SYS_gettid => thread, out("rcx") _, out("r11") _);
            }
            assert!(thread > 1);
        });
        assert_eq!(report.system_calls, 1, "{report}");
    }

    #[test]
    fn one_wakeup_is_allowed_and_two_are_not() {
        let wake = |times: usize| {
            move || {
                // SAFETY: an eventfd of our own takes 8 bytes.
                unsafe {
                    let file = EVENT.with(Cell::get);
                    for _ in 0..times {
                        assert_eq!(libc::write(file, 1_u64.to_ne_bytes().as_ptr().cast(), 8), 8);
                    }
                }
            }
        };
        thread_local!(static EVENT: Cell<c_int> = const { Cell::new(-1) });
        for (times, clean) in [(1, true), (2, false)] {
            let thread = std::thread::Builder::new().spawn(move || {
                // SAFETY: no pointers are involved.
                EVENT.with(|file| file.set(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK) }));
                arm().unwrap();
                watch(wake(times));
                report()
            });
            let report = thread.unwrap().join().unwrap();
            assert_eq!((report.is_clean(), report.wakeups), (clean, times as u64), "{report}");
        }
    }

    #[test]
    fn an_armed_thread_works_as_usual_outside_of_a_watched_call() {
        let thread = std::thread::Builder::new().spawn(|| {
            arm().unwrap();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), "text").unwrap();
            assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "text");
            assert_eq!(
                std::thread::Builder::new().spawn(|| vec![1; 1000].len()).unwrap().join().unwrap(),
                1000
            );
            report()
        });
        assert_eq!(thread.unwrap().join().unwrap(), Report::default());
    }

    #[test]
    fn a_report_names_the_place() {
        let report = observed(|| drop(black_box(Box::new(1_u8))));
        assert!(report.places[0].starts_with("allocation\n"), "{report}");
        assert!(report.places[0].contains("+0x"), "{report}");
    }
}
