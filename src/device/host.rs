//! How this process uses the machine that it runs on: its allocator, and the threads of the CPU device.

/// Makes the C library keep what a step frees for the next step. By default it gives blocks of more than some kilobytes
/// back to the system and takes them again, and fresh pages cost more than many an operation on them.
///
/// Call it once, before other threads exist.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// The most that the C library takes: larger blocks go back to the system.
        const LARGEST_KEPT: i32 = 32 << 20;
        /// Free memory at the heap's end above which it shrinks.
        const KEPT: i32 = 1 << 30;
        // SAFETY: both settings are numbers that the C library checks itself.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_KEPT);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        }
    }
}

/// Makes the calling thread one of those that the CPU device computes with. Otherwise it would hand each operation to them
/// and sleep, and be woken when they are done: for small models most of a step.
///
/// For the thread that trains, before anything has been computed; later calls change nothing.
pub fn compute_on_this_thread() {
    let wished =
        std::env::var("RAYON_NUM_THREADS").ok().and_then(|number| number.parse().ok()).filter(|&n: &usize| n > 0);
    let threads = wished.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    // The work of other threads must find one that is not this one.
    if threads > 1 {
        // A pool that exists already serves as well.
        drop(rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global());
    }
}
