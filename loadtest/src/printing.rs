//! Printing, for programs whose work is more than what they print.
//!
//! The macros of the standard library panic when nobody reads on (`| head`): a run of an hour would end
//! without its report, and with the exit code of a defect. Those of the same name here take their place
//! in all of a crate that begins with this module, so that no line can forget it.
#![allow(unused_macros, reason = "each crate that has this file uses some of them")]

macro_rules! print {
    ($($arguments:tt)*) => {{
        use std::io::Write as _;
        drop(write!(std::io::stdout(), $($arguments)*));
    }};
}

macro_rules! println {
    ($($arguments:tt)*) => {{
        use std::io::Write as _;
        drop(writeln!(std::io::stdout(), $($arguments)*));
    }};
}

macro_rules! eprintln {
    ($($arguments:tt)*) => {{
        use std::io::Write as _;
        drop(writeln!(std::io::stderr(), $($arguments)*));
    }};
}
