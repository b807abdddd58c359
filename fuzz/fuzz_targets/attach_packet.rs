#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ketch::fuzzing::run("attach_packet", data));
