//! `hil serve`: the reports in a browser, those of a run in progress included.
//!
//! Serves files below `<reports>/runs/` and nothing else, by plain names only, to GET requests, on the loopback interface
//! unless told otherwise. It writes nothing and starts nothing.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use hil_report::xml_text::clean_line;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::exit::CommandError;

/// Longest request head that is read.
const MOST_HEAD: usize = 8 * 1024;
/// Longest wait for a request, and for a reader that takes the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections served at once.
const MOST_CONNECTIONS: usize = 32;
/// Runs listed.
const MOST_LISTED: usize = 500;
/// Largest file served.
const MOST_FILE: u64 = 512 << 20;
/// Seconds between two looks of the live page.
const LIVE_SECONDS: u32 = 1;

/// Arguments of `hil serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hil serve                        http://127.0.0.1:8080/, this machine only
  hil serve --port 0               any free port; it is printed
  hil serve --listen 0.0.0.0       everybody on the network may read the reports

/ lists the runs, /latest goes to the newest: its page, or while it is running the lines of what is done so far.")]
pub struct ServeArgs {
    /// Port; 0: any that is free.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// Folder of the reports.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    reports: PathBuf,
}

/// Runs the command until SIGINT.
///
/// # Errors
/// The port cannot be had.
pub fn run(args: &ServeArgs, out: &mut dyn Write) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| CommandError::internal(format!("cannot start the server: {error}")))?;
    let address = SocketAddr::new(args.listen, args.port);
    let runs = args.reports.join("runs");
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            CommandError::usage(format!("cannot listen on {address}: {error}")).hint("--port 0 takes any free port")
        })?;
        let bound = listener.local_addr().map_err(|error| CommandError::internal(error.to_string()))?;
        writeln!(out, "serving {} on http://{bound}/\nCtrl-C ends", runs.display())?;
        out.flush()?;
        serve(listener, Arc::from(runs)).await;
        Ok(())
    })
}

async fn serve(listener: TcpListener, runs: Arc<Path>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: others have to end first.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let runs = Arc::clone(&runs);
        tokio::spawn(async move {
            // A reader that went away is no concern of ours.
            let _ = timeout(PATIENCE, converse(stream, &runs)).await;
            drop(place);
        });
    }
}

async fn converse(mut stream: TcpStream, runs: &Path) -> io::Result<()> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut part).await?;
        if read == 0 || head.len() + read > MOST_HEAD {
            return Ok(());
        }
        head.extend_from_slice(part.get(..read).unwrap_or_default());
    }
    let answer = answer(&String::from_utf8_lossy(&head), runs);
    stream.write_all(answer.head().as_bytes()).await?;
    stream.write_all(&answer.body).await?;
    stream.shutdown().await
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: &'static str,
    kind: &'static str,
    location: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    fn page(status: &'static str, body: String) -> Self {
        Self { status, kind: "text/html; charset=utf-8", location: None, body: body.into_bytes() }
    }

    fn not_found() -> Self {
        Self::page("404 Not Found", page("Not found", "<p>There is no such report. <a href=\"/\">All runs</a></p>"))
    }

    fn head(&self) -> String {
        let location = self.location.as_ref().map(|to| format!("Location: {to}\r\n")).unwrap_or_default();
        format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{location}Cache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            self.status,
            self.kind,
            self.body.len()
        )
    }
}

/// The answer to a request head.
fn answer(head: &str, runs: &Path) -> Answer {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method != "GET" {
        return Answer::page("405 Method Not Allowed", page("Not allowed", "<p>Only GET.</p>"));
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => Answer::page("200 OK", list(runs)),
        ["latest"] => match names(runs).first() {
            Some(name) => Answer {
                status: "302 Found",
                kind: "text/plain",
                location: Some(format!("/runs/{name}/")),
                body: Vec::new(),
            },
            None => Answer::not_found(),
        },
        ["runs", run] if plain(run) => run_page(&runs.join(run)),
        ["runs", run, file] if plain(run) && plain(file) => file_of(&runs.join(run).join(file)),
        _ => Answer::not_found(),
    }
}

/// A name that is no path and not hidden.
fn plain(name: &str) -> bool {
    let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    !name.starts_with('.') && name.chars().all(fit)
}

fn file_of(path: &Path) -> Answer {
    let kind = match path.extension().and_then(|ext| ext.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("xml") => "application/xml",
        Some("jsonl" | "txt") => "text/plain; charset=utf-8",
        Some("zip") => "application/zip",
        Some(_) | None => return Answer::not_found(),
    };
    // A link could lead anywhere; reports are files.
    let is_report = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= MOST_FILE);
    match is_report.then(|| fs::read(path)) {
        Some(Ok(body)) => Answer { status: "200 OK", kind, location: None, body },
        Some(Err(_)) | None => Answer::not_found(),
    }
}

/// The page of a run; while there is none, what is done so far.
fn run_page(dir: &Path) -> Answer {
    let index = dir.join("index.html");
    if index.is_file() {
        return file_of(&index);
    }
    match fs::read_to_string(dir.join("run.jsonl")) {
        Ok(text) => Answer::page("200 OK", live(dir, &text)),
        Err(_) => Answer::not_found(),
    }
}

fn live(dir: &Path, text: &str) -> String {
    let mut rows = String::new();
    let mut count = 0;
    // The last line may be half written.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let field = |key: &str| escape(value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default());
        rows += &format!("<tr><td>{}</td><td>{}</td></tr>\n", field("verdict"), field("run"));
        count += 1;
    }
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let body = format!(
        "<meta http-equiv=\"refresh\" content=\"{LIVE_SECONDS}\">\n<p>{count} done; this page looks again every \
         {LIVE_SECONDS} s and turns into the report. <a href=\"/\">All runs</a></p>\n<table>\n{rows}</table>\n"
    );
    page(&format!("{} is running", escape(&name)), &body)
}

/// Names of the runs, newest first.
fn names(runs: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(runs) else { return Vec::new() };
    let mut found: Vec<(SystemTime, String)> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| {
            let modified = entry.metadata().and_then(|meta| meta.modified()).ok()?;
            Some((modified, entry.file_name().into_string().ok()?))
        })
        .filter(|(_, name)| plain(name))
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().take(MOST_LISTED).map(|(_, name)| name).collect()
}

fn list(runs: &Path) -> String {
    let mut rows = String::new();
    for name in names(runs) {
        let dir = runs.join(&name);
        let state = if dir.join("index.html").is_file() { "done" } else { "running or interrupted" };
        let totals = fs::read_to_string(dir.join("summary.txt")).unwrap_or_default();
        let totals = escape(totals.trim_end().lines().last().unwrap_or_default());
        rows += &format!("<tr><td><a href=\"/runs/{name}/\">{name}</a></td><td>{state}</td><td>{totals}</td></tr>\n");
    }
    if rows.is_empty() {
        return page("Runs", "<p>No runs yet: <code>hil run</code> makes one.</p>");
    }
    page("Runs", &format!("<table>\n{rows}</table>\n"))
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n<style>body{{font:15px \
         system-ui,sans-serif;margin:2rem}}td{{padding:.2rem 1rem .2rem 0}}</style></head>\n<body><h1>{title}</h1>\n\
         {body}</body></html>\n"
    )
}

fn escape(text: &str) -> String {
    clean_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use rstest::rstest;

    fn reports() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let runs = root.path().join("runs");
        fs::create_dir_all(runs.join("done")).unwrap();
        fs::write(runs.join("done/index.html"), "the page").unwrap();
        fs::write(runs.join("done/summary.txt"), "x\n3 passed, 0 failed\n").unwrap();
        fs::create_dir(runs.join("busy")).unwrap();
        let lines = "{\"run\":\"a<b\",\"verdict\":\"pass\"}\n{\"run\":\"half";
        fs::write(runs.join("busy/run.jsonl"), lines).unwrap();
        fs::write(root.path().join("secret.txt"), "secret").unwrap();
        root
    }

    fn get(path: &str) -> Answer {
        let root = reports();
        answer(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"), &root.path().join("runs"))
    }

    #[rstest]
    #[case("/", "3 passed, 0 failed")]
    #[case("/runs/done/", "the page")]
    #[case("/runs/done/index.html?x=1", "the page")]
    #[case("/runs/busy/", "a&lt;b")]
    fn reports_are_served(#[case] path: &str, #[case] want: &str) {
        let answer = get(path);
        assert_eq!(answer.status, "200 OK");
        assert!(String::from_utf8_lossy(&answer.body).contains(want));
    }

    #[rstest]
    #[case("/runs/../secret.txt")]
    #[case("/runs/done/../../secret.txt")]
    #[case("/runs/%2e%2e/secret.txt")]
    #[case("/runs/..")]
    #[case("/secret.txt")]
    #[case("/runs/done/index.html/x")]
    #[case("/runs/none/")]
    #[case("")]
    #[case("/runs/done/run.sh")]
    fn nothing_else_is(#[case] path: &str) {
        let answer = get(path);
        let listed = path.is_empty();
        assert!(answer.status == "404 Not Found" || listed, "{path}: {}", answer.status);
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    }

    #[test]
    fn a_half_written_line_is_left_out() {
        assert!(!String::from_utf8_lossy(&get("/runs/busy/").body).contains("half"));
    }

    #[test]
    fn only_get_is_answered() {
        let root = reports();
        assert_eq!(answer("POST / HTTP/1.1\r\n\r\n", root.path()).status, "405 Method Not Allowed");
        assert_eq!(answer("\r\n\r\n", root.path()).status, "405 Method Not Allowed");
    }
}
