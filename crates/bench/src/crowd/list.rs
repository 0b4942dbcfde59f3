//! One session lists a znode with very many children, again and again. Meanwhile others read something small, one request
//! at a time: how long do they wait?

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use wire::acl::AclVec;
use wire::frame::ReplyHeader;
use wire::jute::Field;
use wire::multi::{MultiOp, MultiRequest};
use wire::request::{CreateRequest, DeleteRequest, GetChildrenPaginatedRequest, ReadRequest};
use wire::{ErrorCode, OpCode, Reader, Zxid};

use super::{Common, Report};
use crate::control;

/// How to list.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub(super) common: Common,

    /// How many children.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    children: usize,

    /// How often they are listed.
    #[arg(long, default_value_t = 10, value_name = "N")]
    lists: usize,

    /// How many sessions read meanwhile.
    #[arg(long, default_value_t = 4, value_name = "N")]
    readers: usize,

    /// Ask for pages of at most so many children (getChildrenPaginated, which Apache's server does not have).
    #[arg(long, value_name = "N")]
    page: Option<i32>,
}

/// Creations in a multi, and deletions.
const TOGETHER: usize = 1000;

pub(super) fn run(options: &Options) -> Result<Report> {
    ensure!(options.children > 0 && options.lists > 0, "--children and --lists must be at least 1");
    let mut stream = control::open(options.common.host)?;
    let parent = super::fresh_parent();
    control::create(&mut stream, &parent)?;
    let path = |number: usize| format!("{parent}/{number:010}");
    multis(&mut stream, options.children, |number| {
        let create = CreateRequest { path: Some(path(number).into()), data: Some(b""), acl: AclVec::OPEN, flags: 0 };
        MultiOp::Create(OpCode::Create, create)
    })?;
    // What the creations left to be done is not of interest here.
    std::thread::sleep(Duration::from_secs(2));
    let over = AtomicBool::new(false);
    let (mut lists, bytes, mut reads) = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..options.readers).map(|_| scope.spawn(|| read(options, &over))).collect();
        let lists = lists(options, &mut stream, &parent);
        over.store(true, Ordering::Release);
        let mut reads = Vec::new();
        for reader in readers {
            reads.extend(reader.join().unwrap_or_else(|_| Err(anyhow!("a reader's thread panicked")))?);
        }
        let (lists, bytes) = lists?;
        Ok::<_, anyhow::Error>((lists, bytes, reads))
    })?;
    if !options.common.keep {
        multis(&mut stream, options.children, |number| {
            MultiOp::Delete(DeleteRequest { path: Some(path(number).into()), version: -1 })
        })?;
        control::delete(&mut stream, &parent)?;
    }
    let mut report = Report::new(format!("list: {} children, {} times", options.children, options.lists));
    report.add("a list", super::median(&mut lists), "ms");
    report.add("a list, longest", lists.last().copied().unwrap_or_default(), "ms");
    report.add("a list's answers", bytes as f64 / 1e6, "MB");
    report.add("a read meanwhile, median", super::median(&mut reads), "us");
    report.add("a read meanwhile, p99", super::p99(&mut reads), "us");
    report.add("a read meanwhile, longest", reads.last().copied().unwrap_or_default(), "us");
    Ok(report)
}

fn multis<'a>(stream: &mut TcpStream, count: usize, op: impl Fn(usize) -> MultiOp<'a>) -> Result<()> {
    for from in (0..count).step_by(TOGETHER) {
        let ops = (from..count.min(from + TOGETHER)).map(&op).collect();
        let request = MultiRequest { ops };
        stream.write_all(&control::request(1, OpCode::Multi, |out| request.write(out)))?;
        let err = control::answer(stream, OpCode::Multi)?;
        ensure!(err == ErrorCode::OK, "a multi was refused: {err:?}");
    }
    Ok(())
}

/// How many ms each list took, and its bytes.
fn lists(options: &Options, stream: &mut TcpStream, parent: &str) -> Result<(Vec<f64>, usize)> {
    let mut times = Vec::new();
    let mut bytes = 0;
    let mut buffer = Vec::new();
    for _ in 0..options.lists {
        let began = Instant::now();
        let mut found = 0;
        bytes = 0;
        let mut next = (Zxid::ZERO, 0);
        while next.0.0 >= 0 {
            let (op, path, watch) = (OpCode::GetChildren2, Some(parent.into()), false);
            let request = match options.page {
                None => control::request(1, op, |out| ReadRequest { path, watch }.write(out)),
                Some(max_returned) => {
                    let (czxid_min, czxid_offset) = next;
                    let request = GetChildrenPaginatedRequest { path, max_returned, czxid_min, czxid_offset, watch };
                    control::request(1, OpCode::GetChildrenPaginated, |out| request.write(out))
                }
            };
            stream.write_all(&request)?;
            read_frame(stream, &mut buffer)?;
            bytes += buffer.len() + 4;
            let mut r = Reader::new(&buffer);
            let header: ReplyHeader = r.read()?;
            ensure!(header.err == ErrorCode::OK, "the list was refused: {:?}", header.err);
            let count: i32 = r.read()?;
            found += count as usize;
            next = (Zxid(-1), -1);
            if options.page.is_some() {
                let mut r = Reader::new(&buffer[buffer.len() - 12..]);
                next = (r.read()?, r.read()?);
            }
        }
        times.push(began.elapsed().as_secs_f64() * 1e3);
        ensure!(found == options.children, "{found} children came, there are {}", options.children);
    }
    Ok((times, bytes))
}

/// Reads a frame of any length.
fn read_frame(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).context("no answer to a list")?;
    let length = u32::from_be_bytes(length) as usize;
    ensure!((16..=1 << 30).contains(&length), "a frame of {length} bytes");
    buffer.resize(length, 0);
    stream.read_exact(buffer).context("the answer to a list ends early")
}

/// Reads one znode, one request at a time, until it is over; how many µs each took.
fn read(options: &Options, over: &AtomicBool) -> Result<Vec<f64>> {
    let mut stream = control::open(options.common.host)?;
    let request = ReadRequest { path: Some("/zookeeper".into()), watch: false };
    let frame = control::request(1, OpCode::GetData, |out| request.write(out));
    let mut times = Vec::new();
    while !over.load(Ordering::Acquire) {
        let began = Instant::now();
        stream.write_all(&frame)?;
        let err = control::answer(&mut stream, OpCode::GetData)?;
        ensure!(err == ErrorCode::OK, "a get was refused: {err:?}");
        times.push(began.elapsed().as_nanos() as f64 / 1e3);
        std::thread::sleep(Duration::from_micros(300));
    }
    control::close(&mut stream)?;
    Ok(times)
}
