//! The time of day where this machine stands, for chat lines.

use super::chat::WallTime;

/// Now, in local time; midnight if the system cannot tell.
#[cfg(unix)]
pub(super) fn local_now() -> WallTime {
    // SAFETY: `time` accepts null; `localtime_r` writes a whole `tm` or returns null, and zeroes are a valid `tm`.
    let local = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut local: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&raw const now, &raw mut local).is_null() {
            return WallTime::default();
        }
        local
    };
    let byte = |value: libc::c_int| u8::try_from(value).unwrap_or(0);
    WallTime { hour: byte(local.tm_hour), minute: byte(local.tm_min), second: byte(local.tm_sec) }
}

/// Now, in local time.
#[cfg(windows)]
pub(super) fn local_now() -> WallTime {
    use windows_sys::Win32::System::SystemInformation::GetLocalTime;

    // SAFETY: a SYSTEMTIME is plain numbers, and GetLocalTime fills it.
    let local = unsafe {
        let mut local = std::mem::zeroed();
        GetLocalTime(&raw mut local);
        local
    };
    let byte = |value: u16| u8::try_from(value).unwrap_or(0);
    WallTime { hour: byte(local.wHour), minute: byte(local.wMinute), second: byte(local.wSecond) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_one() {
        let now = local_now();
        assert!(now.hour < 24 && now.minute < 60 && now.second <= 60);
    }
}
