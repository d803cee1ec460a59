//! A tty that behaves as a USB serial adapter does: octets for nobody are dropped and counted, a slow reader loses some,
//! and the wrong baud rate gives garbage. Waits without polling: opening and closing is watched through inotify.

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::inotify,
    io::Errno,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};
use std::{
    collections::VecDeque,
    fs, io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

/// Baud rate of a tty that nobody has set up.
pub(crate) const BAUD: u32 = 115_200;
/// Octets kept for a reader that is slow.
const BACKLOG: usize = 256 * 1024;

/// Octets of a tty so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TtyCounts {
    /// Given to the reader.
    pub to_host: u64,
    /// Taken from the writer.
    pub from_host: u64,
    /// Lost because nobody had the tty open.
    pub unheard: u64,
    /// Lost because the reader was slow.
    pub overrun: u64,
}

/// The device side of a tty.
#[derive(Debug)]
pub(crate) struct Pty {
    master: OwnedFd,
    watch: OwnedFd,
    link: PathBuf,
    backlog: VecDeque<u8>,
    open: bool,
    pub counts: TtyCounts,
}

impl Pty {
    /// Makes a tty and a symbolic link to it at `link`.
    pub fn new(link: &Path) -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?;
        let path = Path::new(std::ffi::OsStr::new(path.to_str().map_err(io::Error::other)?)).to_owned();
        // Raw before anyone opens it, and opened once: from its first closing on, the master knows that nobody listens.
        let slave = fs::File::options().read(true).write(true).open(&path)?;
        let mut settings = tcgetattr(&slave)?;
        settings.make_raw();
        settings.set_speed(BAUD)?;
        tcsetattr(&slave, OptionalActions::Now, &settings)?;
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&watch, &path, inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE)?;
        drop(slave);
        rustix::io::ioctl_fionbio(&master, true)?;
        match fs::remove_file(link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::symlink(&path, link)?;
        Ok(Self {
            master,
            watch,
            link: link.to_owned(),
            backlog: VecDeque::new(),
            open: false,
            counts: TtyCounts::default(),
        })
    }

    /// Says when somebody opens or closes the tty.
    pub fn watch(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    /// What to wait on for octets, and for what. `None` while nobody has the tty open: it would say so for ever.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let out = if self.backlog.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        self.open.then(|| (self.master.as_fd(), PollFlags::IN | out))
    }

    /// Looks whether somebody has the tty open.
    pub fn look(&mut self) {
        let mut events = [MaybeUninit::uninit(); 512];
        // Only that something happened counts; what is true now is asked below.
        while rustix::io::read(&self.watch, &mut events).is_ok_and(|(events, _)| !events.is_empty()) {}
        let mut master = [PollFd::new(&self.master, PollFlags::IN)];
        let hung_up = poll(&mut master, Some(&rustix::event::Timespec::default())).is_ok()
            && master[0].revents().contains(PollFlags::HUP);
        self.open = !hung_up;
        if hung_up {
            self.counts.unheard += self.backlog.len() as u64;
            self.backlog.clear();
        }
    }

    /// Octets for the host.
    pub fn write(&mut self, octets: &[u8]) {
        self.look();
        if !self.open {
            self.counts.unheard += octets.len() as u64;
            return;
        }
        let room = BACKLOG - self.backlog.len();
        let taken = &octets[..octets.len().min(room)];
        self.counts.overrun += (octets.len() - taken.len()) as u64;
        self.backlog.extend(taken);
        self.drain();
    }

    /// Gives the reader what it takes.
    pub fn drain(&mut self) {
        while !self.backlog.is_empty() {
            match rustix::io::write(&self.master, self.backlog.as_slices().0) {
                Ok(n) => {
                    self.counts.to_host += n as u64;
                    self.backlog.drain(..n);
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
    }

    /// Octets from the host; empty if there are none.
    pub fn read(&mut self, octets: &mut [u8]) -> usize {
        if !self.open {
            return 0;
        }
        match rustix::io::read(&self.master, &mut *octets) {
            Ok(n) => {
                self.counts.from_host += n as u64;
                n
            }
            Err(Errno::IO) => {
                self.open = false;
                0
            }
            Err(_) => 0,
        }
    }

    /// The baud rate that the host has chosen.
    pub fn baud(&self) -> u32 {
        tcgetattr(&self.master).map_or(BAUD, |settings| settings.output_speed())
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // A link that is gone needs no removing.
        let _ = fs::remove_file(&self.link);
    }
}
