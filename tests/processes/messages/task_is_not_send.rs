//~ future cannot be sent between threads safely
//~ required by a bound in `adjourn::spawn`
use std::rc::Rc;

fn main() -> adjourn::Exit {
    adjourn::run(async {
        let shared = Rc::new(1);
        adjourn::spawn(async move {
            tokio::time::sleep(std::time::Duration::ZERO).await;
            println!("{shared}");
        });
    })
}
