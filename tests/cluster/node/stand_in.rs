//! The program in the tests' images, built with rustc alone: waits to be killed, or with the argument `exit` ends at once.

fn main() {
    if std::env::args().any(|argument| argument == "exit") {
        return;
    }
    loop {
        std::thread::park();
    }
}
