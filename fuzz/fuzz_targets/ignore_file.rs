#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ketch::fuzzing::run("ignore_file", data));
