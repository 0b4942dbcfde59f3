//! Sessions that come back and set their watches again, as clients do after a reconnect: frames of up to 128 KiB, one behind
//! the other. Meanwhile another session reads, one request at a time: how long does it wait?

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use wire::jute::Field;
use wire::request::{ReadRequest, SetDataRequest, SetWatches2};
use wire::{ErrorCode, OpCode, Zxid};

use super::{Common, Report};
use crate::control;

/// How to storm.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub(super) common: Common,

    /// How many sessions come back at once.
    #[arg(long, default_value_t = 10, value_name = "N")]
    sessions: usize,

    /// How many watches each of them has, on the same znodes.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    watches: usize,

    /// Bytes of paths in a request.
    #[arg(long, default_value_t = 128 * 1024, value_name = "BYTES")]
    frame: usize,

    /// The sessions hang up when they are done, and it is measured until nothing is left to be freed for 2 s.
    #[arg(long)]
    hang_up: bool,
}

pub(super) fn run(options: &Options) -> Result<Report> {
    ensure!(options.sessions > 0 && options.watches > 0, "--sessions and --watches must be at least 1");
    super::raise_descriptors(3 * options.sessions)?;
    let mut first = control::open(options.common.host)?;
    let parent = super::fresh_parent();
    control::create(&mut first, &parent)?;
    let path = |number: usize| format!("{parent}/{number:010}");
    super::create_many(&mut first, options.watches, path)?;
    let paths: Vec<String> = (0..options.watches).map(path).collect();
    let a_path = paths[0].len() + 4;
    let frames: Vec<Vec<u8>> = paths
        .chunks((options.frame / a_path).max(1))
        .map(|chunk| {
            let request = SetWatches2 {
                relative_zxid: Zxid(i64::MAX),
                data_watches: Some(chunk.iter().map(|path| Some(path.as_str().into())).collect()),
                exist_watches: Some(Vec::new()),
                child_watches: Some(Vec::new()),
                persistent_watches: Some(Vec::new()),
                persistent_recursive_watches: Some(Vec::new()),
            };
            control::request(-8, OpCode::SetWatches2, |out| request.write(out))
        })
        .collect();
    let mut sessions = control::open_many(options.common.host, options.sessions)?;
    let goodbyes = sessions.iter().map(TcpStream::try_clone).collect::<std::io::Result<Vec<_>>>()?;
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let (mut reads, mut writes, took) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| load(options, &paths[0], false, &over));
        let writer = scope.spawn(|| load(options, &paths[0], true, &over));
        let threads: Vec<_> = sessions.iter_mut().map(|stream| scope.spawn(|| set_watches(stream, &frames))).collect();
        let done: Vec<Result<()>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a session's thread panicked"))))
            .collect();
        let took = began.elapsed();
        if options.hang_up {
            for stream in &goodbyes {
                // One that the server closed already needs no goodbye.
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
            std::thread::sleep(Duration::from_secs(2));
        }
        over.store(true, Ordering::Release);
        let join = |it: std::thread::ScopedJoinHandle<'_, Result<Vec<f64>>>| {
            it.join().unwrap_or_else(|_| Err(anyhow!("the reader's thread panicked")))
        };
        let (reads, writes) = (join(reader), join(writer));
        done.into_iter().collect::<Result<()>>()?;
        Ok::<_, anyhow::Error>((reads?, writes?, took))
    })?;
    if !options.common.keep {
        super::delete_many(&mut first, options.watches, path)?;
        control::delete(&mut first, &parent)?;
    }
    let all = options.sessions * options.watches;
    let about = format!("storm: {} sessions set {} watches each again", options.sessions, options.watches);
    let mut report = Report::new(about);
    report.add("all set after", took.as_secs_f64() * 1e3, "ms");
    report.add("a watch", took.as_secs_f64() * 1e9 / all as f64, "ns");
    for (name, times) in [("read", &mut reads), ("write", &mut writes)] {
        report.add(&format!("a {name} meanwhile, median"), super::median(times), "us");
        report.add(&format!("a {name} meanwhile, p99"), super::p99(times), "us");
        report.add(&format!("a {name} meanwhile, longest"), times.last().copied().unwrap_or_default(), "us");
    }
    Ok(report)
}

/// Sends all frames at once and then reads the answers, as a client does.
fn set_watches(stream: &mut TcpStream, frames: &[Vec<u8>]) -> Result<()> {
    let mut writing = stream.try_clone()?;
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || frames.iter().try_for_each(|frame| writing.write_all(frame)));
        for _ in frames {
            let err = control::answer(stream, OpCode::SetWatches2)?;
            ensure!(err == ErrorCode::OK, "setWatches was refused: {err:?}");
        }
        writer.join().map_err(|_| anyhow!("a session's writer panicked"))??;
        Ok(())
    })
}

/// Reads or writes one znode, one request at a time, until it is over; how many µs each took. Sets are paced, so that
/// they don't keep the server busy.
fn load(options: &Options, path: &str, sets: bool, over: &AtomicBool) -> Result<Vec<f64>> {
    let mut stream = control::open(options.common.host)?;
    let op = if sets { OpCode::SetData } else { OpCode::GetData };
    // What is set is not watched by anybody: it is the parent.
    let path = if sets { path.rsplit_once('/').map_or(path, |(parent, _)| parent) } else { path };
    let frame = control::request(1, op, |out| {
        if sets {
            SetDataRequest { path: Some(path.into()), data: Some(b"x"), version: -1 }.write(out);
        } else {
            ReadRequest { path: Some(path.into()), watch: false }.write(out);
        }
    });
    let mut times = Vec::new();
    while !over.load(Ordering::Acquire) {
        let began = Instant::now();
        stream.write_all(&frame)?;
        let err = control::answer(&mut stream, op)?;
        ensure!(err == ErrorCode::OK, "{} was refused: {err:?}", op.name());
        times.push(began.elapsed().as_nanos() as f64 / 1e3);
        std::thread::sleep(Duration::from_micros(300));
    }
    control::close(&mut stream)?;
    Ok(times)
}
