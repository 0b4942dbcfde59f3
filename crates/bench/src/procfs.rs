//! CPU time and memory of a process, from Linux' `/proc`.

use std::fs;

use anyhow::{Context, Result};

/// The CPU time of a process so far, user and system, all threads, in microseconds.
pub fn cpu_us(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}: does the process still run?"))?;
    // The name in parentheses may hold spaces and parentheses; utime and stime are the 12th and 13th field behind it.
    let behind = stat.rsplit_once(')').map(|(_, it)| it);
    let mut fields = behind.unwrap_or_default().split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|it| it.parse::<u64>().ok());
    let total = ticks().zip(ticks()).map(|(user, system)| user + system);
    let total = total.with_context(|| format!("{path} is not as expected: {stat}"))?;
    Ok(total as f64 * 1e6 / rustix::param::clock_ticks_per_second() as f64)
}

/// The resident memory of a process, in bytes.
pub fn rss_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}: does the process still run?"))?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = line.and_then(|it| it.trim().strip_suffix(" kB")).and_then(|it| it.trim().parse::<u64>().ok());
    Ok(kib.with_context(|| format!("{path} has no VmRSS in kB"))? * 1024)
}

/// What a process had written to disks so far, in bytes, page caches that are to be written included.
pub fn written_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/io");
    let io = fs::read_to_string(&path).with_context(|| format!("reading {path}: does the process still run?"))?;
    let bytes = io.lines().find_map(|it| it.strip_prefix("write_bytes: ")).and_then(|it| it.parse().ok());
    bytes.with_context(|| format!("{path} has no write_bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_measured() {
        let pid = std::process::id();
        assert!(cpu_us(pid).unwrap() >= 0.0);
        assert!(rss_bytes(pid).unwrap() > 100_000);
        assert!(written_bytes(pid).is_ok());
        assert!(cpu_us(u32::MAX).is_err() && written_bytes(u32::MAX).is_err());
    }
}
