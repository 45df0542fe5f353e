//! Keeping this library in memory while threads of it may still run.

/// Asks the system never to unload the library that this function is in, whatever the host does.
///
/// A host that removes the last instance may unload the plugin at once, while a name look-up that
/// cannot be interrupted is still on its way; without this, returning from it would crash the host.
pub fn pin_this_library() {
    #[cfg(unix)]
    {
        // SAFETY: dladdr only fills `info`, and dlopen gets the path that the loader itself reported. With
        // RTLD_NOLOAD it opens nothing new; RTLD_NODELETE marks the library. The handle is kept for ever on purpose.
        unsafe {
            let mut info: libc::Dl_info = std::mem::zeroed();
            if libc::dladdr(pin_this_library as *const libc::c_void, &raw mut info) != 0
                && !info.dli_fname.is_null()
            {
                libc::dlopen(info.dli_fname, libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE);
            }
        }
    }
    #[cfg(windows)]
    {
        use windows_sys::Win32::System::LibraryLoader::{
            GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleExW,
        };
        let mut module = std::ptr::null_mut();
        // SAFETY: with FROM_ADDRESS the second argument is any address inside the module.
        unsafe {
            GetModuleHandleExW(
                GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                pin_this_library as *const u16,
                &raw mut module,
            );
        }
    }
}
