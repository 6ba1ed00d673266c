//! Processor time of this process and of others, all threads, to the nanosecond.

use std::io;
use std::time::Duration;

use libc::{clockid_t, timespec};

pub fn own_processor_time() -> io::Result<Duration> {
    read_clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

pub fn processor_time(process: i32) -> io::Result<Duration> {
    let mut clock: clockid_t = 0;
    // SAFETY: `clock` lives until the call returns.
    match unsafe { libc::clock_getcpuclockid(process, &mut clock) } {
        0 => read_clock(clock),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn read_clock(clock: clockid_t) -> io::Result<Duration> {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` lives until the call returns.
    if unsafe { libc::clock_gettime(clock, &mut now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(now.tv_sec as u64, now.tv_nsec as u32))
}
