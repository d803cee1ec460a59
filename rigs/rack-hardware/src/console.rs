//! A board's serial port: found by USB serial and interface number, read by a thread of its own, every octet into a log
//! file before anybody interprets it.
//!
//! DTR is asserted, because on-board probes connect their UART only then. Nothing is ever written to a board unless
//! somebody asks for it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serialport::SerialPort;
use tokio::sync::mpsc;

use crate::error::Fault;
use crate::identity::PortIdentity;

/// How long a read waits before the reader looks whether it shall stop.
const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// Pieces that may wait to be interpreted. Behind them the system's own buffer fills.
const QUEUE: usize = 256;

/// A serial port of a USB device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsbPort {
    /// Where it can be opened.
    pub path: PathBuf,
    /// USB vendor.
    pub vendor: u16,
    /// USB product.
    pub product: u16,
    /// Serial number of the device.
    pub serial: String,
    /// Number of its control interface.
    pub interface: u8,
    /// What the device calls itself.
    pub name: String,
}

/// Serial ports of USB devices that have a serial number, by what the kernel says of them.
#[must_use]
pub fn usb_ports() -> Vec<UsbPort> {
    let mut ports = usb_ports_below(Path::new("/sys/class/tty"), Path::new("/dev"));
    if ports.is_empty() {
        ports = library_ports();
    }
    ports.sort();
    ports
}

/// The same out of a given folder, so that it can be tried on a made one.
fn usb_ports_below(class: &Path, devices: &Path) -> Vec<UsbPort> {
    let Ok(entries) = fs::read_dir(class) else { return Vec::new() };
    let port = |entry: fs::DirEntry| {
        // `device` is the USB interface (or, for converters, a port below it); the USB device is above.
        let mut folder = fs::canonicalize(entry.path().join("device")).ok()?;
        let text = |folder: &Path, name: &str| {
            fs::read_to_string(folder.join(name))
                .ok()
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        let hex = |text: String| u16::from_str_radix(&text, 16).ok();
        let mut interface = None;
        for _ in 0..4 {
            if interface.is_none() {
                interface = text(&folder, "bInterfaceNumber").and_then(hex);
            }
            if let Some(serial) = text(&folder, "serial") {
                return Some(UsbPort {
                    path: devices.join(entry.file_name()),
                    vendor: text(&folder, "idVendor").and_then(hex)?,
                    product: text(&folder, "idProduct").and_then(hex)?,
                    serial,
                    interface: u8::try_from(interface?).ok()?,
                    name: text(&folder, "product").unwrap_or_default(),
                });
            }
            folder = folder.parent()?.to_owned();
        }
        None
    };
    entries.flatten().take(4_096).filter_map(port).collect()
}

/// What the serial library finds, on systems without the kernel's folder.
fn library_ports() -> Vec<UsbPort> {
    let ports = serialport::available_ports().unwrap_or_default();
    ports
        .into_iter()
        .filter_map(|port| match port.port_type {
            serialport::SerialPortType::UsbPort(usb) => Some(UsbPort {
                path: port.port_name.into(),
                vendor: usb.vid,
                product: usb.pid,
                serial: usb.serial_number.filter(|serial| !serial.is_empty())?,
                interface: usb.interface.unwrap_or(0),
                name: usb.product.unwrap_or_default(),
            }),
            serialport::SerialPortType::PciPort
            | serialport::SerialPortType::BluetoothPort
            | serialport::SerialPortType::Unknown => None,
        })
        .collect()
}

/// Where the port of that identity can be opened.
///
/// # Errors
/// [`Fault::Absent`].
pub fn find(identity: &PortIdentity) -> Result<PathBuf, Fault> {
    let absent = || Fault::Absent { name: identity.to_string() };
    match identity {
        PortIdentity::Device(path) => path.exists().then(|| path.clone()).ok_or_else(absent),
        PortIdentity::Usb { serial, interface } => usb_ports()
            .into_iter()
            .find(|port| port.serial == *serial && port.interface == *interface)
            .map(|port| port.path)
            .ok_or_else(absent),
    }
}

/// What comes from the port.
#[derive(Debug)]
pub enum ConsoleEvent {
    /// Octets, and when they were read.
    Octets {
        /// When.
        at: Instant,
        /// What.
        octets: Vec<u8>,
    },
    /// Nothing came for a while.
    Idle,
    /// The port is gone.
    Closed {
        /// Why.
        fault: Fault,
    },
}

/// An open port.
#[derive(Debug)]
pub struct Console {
    /// Where it was opened.
    pub path: PathBuf,
    writer: Box<dyn SerialPort>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Console {
    /// Opens the port of that identity and begins to read it. `log` gets every octet as it came, appended.
    ///
    /// # Errors
    /// [`Fault::Absent`], [`Fault::Busy`], [`Fault::Forbidden`] or [`Fault::Io`].
    pub fn open(
        identity: &PortIdentity,
        baud: u32,
        log: Option<&Path>,
    ) -> Result<(Self, mpsc::Receiver<ConsoleEvent>), Fault> {
        let path = find(identity)?;
        let port = open_port(&path, baud)?;
        let log = log.map(open_log).transpose()?;
        let copy = port.try_clone().map_err(|error| port_fault(&path, &error))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = mpsc::channel(QUEUE);
        let name = format!("console {}", path.display());
        let reader = {
            let (stop, path) = (Arc::clone(&stop), path.clone());
            let read = move || Reader { port: copy, path, log, sender, stop }.run();
            std::thread::Builder::new()
                .name(name)
                .spawn(read)
                .map_err(|e| Fault::Io { why: format!("a thread: {e}") })?
        };
        Ok((Self { path, writer: port, stop, reader: Some(reader) }, receiver))
    }

    /// Sends octets to the board.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn send(&mut self, octets: &[u8]) -> Result<(), Fault> {
        let sent = self.writer.write_all(octets).and_then(|()| self.writer.flush());
        sent.map_err(|error| Fault::Io { why: format!("{}: {error}", self.path.display()) })
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The reader looks at least every `READ_TIMEOUT`, unless it waits for room in the queue, whose other end is going
        // away too: it is not waited for.
        drop(self.reader.take());
    }
}

fn open_log(path: &Path) -> Result<File, Fault> {
    let failed = |error: io::Error| Fault::Io { why: format!("{}: {error}", path.display()) };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    OpenOptions::new().create(true).append(true).open(path).map_err(failed)
}

fn open_port(path: &Path, baud: u32) -> Result<Box<dyn SerialPort>, Fault> {
    let builder = serialport::new(path.to_string_lossy(), baud).timeout(READ_TIMEOUT);
    let mut port = builder.open().map_err(|error| port_fault(path, &error))?;
    // Pseudo-terminals have no such line.
    let _without_lines = port.write_data_terminal_ready(true);
    Ok(port)
}

pub(crate) fn port_fault(path: &Path, error: &serialport::Error) -> Fault {
    let name = path.display().to_string();
    match error.kind() {
        serialport::ErrorKind::Io(io::ErrorKind::PermissionDenied) => Fault::Forbidden { name },
        serialport::ErrorKind::Io(io::ErrorKind::NotFound) => Fault::Absent { name },
        // The library's word for a port that is locked by another opener, and for one that is not there.
        serialport::ErrorKind::NoDevice if path.exists() => Fault::Busy { name, holder: None },
        serialport::ErrorKind::NoDevice => Fault::Absent { name },
        serialport::ErrorKind::InvalidInput | serialport::ErrorKind::Unknown | serialport::ErrorKind::Io(_) => {
            Fault::Io { why: format!("{name}: {error}") }
        }
    }
}

struct Reader {
    port: Box<dyn SerialPort>,
    path: PathBuf,
    log: Option<File>,
    sender: mpsc::Sender<ConsoleEvent>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn run(mut self) {
        let mut buffer = [0; 4_096];
        let mut quiet = true;
        while !self.stop.load(Ordering::Relaxed) {
            let event = match self.port.read(&mut buffer) {
                Ok(0) => Some(self.closed("end of file")),
                Ok(octets) => {
                    quiet = false;
                    let octets = buffer.get(..octets).unwrap_or_default().to_vec();
                    match self.log.as_mut().map_or(Ok(()), |log| log.write_all(&octets)) {
                        Ok(()) => Some(ConsoleEvent::Octets { at: Instant::now(), octets }),
                        // A log that is not exact is no evidence: the console ends with it.
                        Err(error) => Some(self.closed(&format!("its log: {error}"))),
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => {
                    let first = !quiet;
                    quiet = true;
                    first.then_some(ConsoleEvent::Idle)
                }
                Err(error) => Some(self.closed(&error.to_string())),
            };
            let Some(event) = event else { continue };
            let last = matches!(event, ConsoleEvent::Closed { .. });
            if self.sender.blocking_send(event).is_err() || last {
                return;
            }
        }
    }

    fn closed(&self, why: &str) -> ConsoleEvent {
        ConsoleEvent::Closed {
            fault: Fault::LinkLost { during: format!("reading {}", self.path.display()), why: why.to_owned() },
        }
    }
}

#[cfg(test)]
mod tests;
