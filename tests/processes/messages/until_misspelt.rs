//~ no variant or associated item named `MainReturned` found for enum `Until`
//~ there is a variant with a similar name
//~ MainReturns
fn main() -> adjourn::Exit {
    adjourn::Runner::new().until(adjourn::Until::MainReturned).run(async {})
}
