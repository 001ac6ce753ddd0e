//~ async block may outlive the current function, but it borrows `name`
//~ use the `move` keyword
fn main() -> adjourn::Exit {
    adjourn::run(async {
        let name = String::from("worker");
        adjourn::spawn(async { println!("{}", name.as_str()) });
    })
}
