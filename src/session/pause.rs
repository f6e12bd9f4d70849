//! Waiting, and letting others have their turn: threads sleep, and tasks of a browser, which share one thread, come back
//! later.

#[cfg(not(target_arch = "wasm32"))]
mod platform {
    use std::time::Duration;

    /// Waits for a while.
    pub async fn sleep(time: Duration) {
        std::thread::sleep(time);
    }

    /// Lets the others have their turn, which threads have anyway.
    pub async fn breathe() {}
}

#[cfg(target_arch = "wasm32")]
mod platform {
    use std::time::Duration;

    use js_sys::{Function, Promise};
    use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
    use wasm_bindgen_futures::JsFuture;

    #[wasm_bindgen]
    extern "C" {
        #[wasm_bindgen(js_name = setTimeout)]
        fn set_timeout(then: &Function, millis: i32);
    }

    /// Waits for a while.
    pub async fn sleep(time: Duration) {
        let wait = Promise::new(&mut |done, _| set_timeout(&done, time.as_millis() as i32));
        let _ = JsFuture::from(wait).await;
    }

    /// Lets the others have their turn. A message to itself comes sooner than any timer, of which browsers demand pauses.
    pub async fn breathe() {
        let Ok(channel) = web_sys::MessageChannel::new() else { return sleep(Duration::ZERO).await };
        let (port, other) = (channel.port1(), channel.port2());
        let turn = Promise::new(&mut |done, _| port.set_onmessage(Some(done.unchecked_ref())));
        let _ = other.post_message(&JsValue::NULL);
        let _ = JsFuture::from(turn).await;
        port.close();
    }
}

pub use platform::{breathe, sleep};
