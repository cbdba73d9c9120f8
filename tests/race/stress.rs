fn main() {
    let mut x = 0u64;
    let p = &raw mut x as usize;
    let t = std::thread::spawn(move || unsafe { *(p as *mut u64) += 1 });
    unsafe { *(p as *mut u64) += 1 };
    t.join().unwrap();
    println!("{x}");
}
