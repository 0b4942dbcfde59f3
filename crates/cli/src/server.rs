//! `ostler server`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Instant;

use server::start::{LAST_QUIET_STEP, Step};
use server::{Config, ConfigError, Environment};

use crate::fail;

/// `ostler server [zoo.cfg]`, or as Apache's short form `ostler server port dataDir [tickTime] [maxClientCnxns]`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A zoo.cfg, or: port dataDir, and if wanted tickTime and maxClientCnxns. Nothing: 127.0.0.1:2181, data in ./ostler-data
    arguments: Vec<String>,
    /// Stop when standard input ends, as after SIGTERM: whoever started the server is gone
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

/// Why a server ends.
enum End {
    Signal(&'static str),
    Fatal(String),
}

/// Runs a server until a signal or a fatal error ends it.
pub fn run(args: &Args) -> ExitCode {
    let began = Instant::now();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let config = match Config::from_arguments(&args.arguments, &Environment::from_process()) {
        Ok(config) => config,
        Err(e) => return fail(&e.to_string(), ConfigError::EXIT_CODE),
    };
    say(&format!("ostler {}: ZooKeeper's service; data in {}", env!("CARGO_PKG_VERSION"), data_place(&config)));
    let source = match args.arguments.as_slice() {
        [] => "built-in values (no zoo.cfg given)".to_owned(),
        [file] => file.clone(),
        _ => "the command line".to_owned(),
    };
    say_step(&Step { name: "configuration", result: source, took: began.elapsed() });
    for note in &config.notes {
        if note.warning {
            tracing::warn!("{}", note.text);
        } else {
            tracing::info!("{}", note.text);
        }
    }
    let (send, ends) = mpsc::channel();
    end_on_panic();
    let serving = Arc::new(AtomicBool::new(false));
    if let Err(e) = listen_for_signals(send.clone(), serving.clone()) {
        return fail(&format!("signals can't be handled: {e}"), 1);
    }
    if args.until_stdin_ends
        && let Err(e) = end_with_stdin(send.clone())
    {
        return fail(&format!("standard input can't be watched: {e}"), 1);
    }
    let send_fatal = send.clone();
    let on_fatal = Arc::new(move |why: String| {
        let _ = send_fatal.send(End::Fatal(why));
    });
    let mut show = |step: Step| {
        if step.name == LAST_QUIET_STEP {
            serving.store(true, SeqCst);
        }
        say_step(&step);
    };
    let running = match server::start(&config, on_fatal, &mut show) {
        Ok(running) => running,
        Err(e) => return fail(&e.to_string(), e.exit_code()),
    };
    let address = running.address;
    say(&format!("ready after {:.1} ms", began.elapsed().as_secs_f64() * 1000.0));
    say(&format!("connect with any ZooKeeper client: zkCli.sh -server {}", reachable(address)));
    say(&format!("stop with Ctrl-C, or: kill {}", std::process::id()));
    // Without a sender left, all that could end the server are gone, which can't be: `send` lives here.
    match ends.recv() {
        Ok(End::Fatal(why)) => {
            // Nothing is drained: what is not durable now was never acknowledged, and must not be.
            fail(&why, 1);
            std::process::exit(1)
        }
        Ok(End::Signal(name)) => {
            say(&format!("{name}: stopping"));
            match running.stop() {
                Ok(()) => {
                    say("stopped; everything acknowledged is on the disk");
                    ExitCode::SUCCESS
                }
                Err(e) => fail(&format!("stopped, but the log file could not be tidied up: {e}"), 1),
            }
        }
        Err(_) => ExitCode::FAILURE,
    }
}

fn data_place(config: &Config) -> String {
    let (data, log) = (&config.storage.data_dir, &config.storage.data_log_dir);
    let absolute =
        |path: &std::path::Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    if data == log { absolute(data) } else { format!("{}, logs in {}", absolute(data), absolute(log)) }
}

/// An address that a client on this machine can use.
fn reachable(address: std::net::SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() }
}

/// A panic anywhere ends the server: half a server that looks like a whole one would be worse.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        fail("an internal error (above); the server stops. What was acknowledged is on the disk. Please report it", 1);
        std::process::exit(1);
    }));
}

/// The first signal stops the server in order, the second one at once. Before anybody could connect there is nothing to
/// put in order: recovery survives being cut off anywhere.
fn listen_for_signals(send: mpsc::Sender<End>, serving: Arc<AtomicBool>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    std::thread::Builder::new().name("ostler-signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
                let _ = send.send(End::Fatal("signals can't be handled".to_owned()));
                return;
            };
            let mut next = async || {
                tokio::select! {
                    _ = term.recv() => "SIGTERM",
                    _ = int.recv() => "SIGINT",
                }
            };
            let name = next().await;
            if !serving.load(SeqCst) {
                say(&format!("{name}: the start is given up; nobody was served"));
                std::process::exit(0);
            }
            let _ = send.send(End::Signal(name));
            let name = next().await;
            fail(&format!("{name} while stopping: ended at once; what was under way is not answered"), 1);
            std::process::exit(1);
        });
    })?;
    Ok(())
}

/// Nothing is read from it that would mean anything.
fn end_with_stdin(send: mpsc::Sender<End>) -> std::io::Result<()> {
    std::thread::Builder::new().name("ostler-stdin".to_owned()).spawn(move || {
        // However it ends, there is nobody at its other end any more.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = send.send(End::Signal("the end of standard input"));
    })?;
    Ok(())
}

fn say_step(step: &Step) {
    say(&format!("  {:<14}{:>8.1} ms  {}", step.name, step.took.as_secs_f64() * 1000.0, step.result));
}

fn say(line: &str) {
    // A closed stdout is no reason to stop serving.
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}
