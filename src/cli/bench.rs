//! `agoge bench`: ratios from one run, never absolute promises.

mod attention;
mod kernels;
mod matmul;
mod measure;
mod memory;
mod methods;
mod speed;
mod step;
#[cfg(feature = "window")]
mod window;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::Result;

/// Arguments of `agoge bench`.
#[derive(Debug, Args)]
pub(super) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Masked gather, direct, transposed and tiled, against the dense gradient and a gather
    Kernels(kernels::Kernels),
    /// Attention over blocks of keys against all scores at once
    Attention(attention::Attention),
    /// Products with frozen matrices: every shader and storage type, and Burn's own
    Matmul(matmul::Matmul),
    /// Device memory of training over inference, per trainable parameter
    Memory(memory::Memory),
    /// A frame of the live window with many points, and a run with the window against one without
    #[cfg(feature = "window")]
    Window(window::Window),
    /// Memory of an optimizer step, measured and estimated
    Step(step::Step),
    /// A step of sparta compared with those of lora and full, in one run
    Methods(methods::Methods),
    /// Seconds of an optimizer step of one model, batch and method, with the settings of a run
    Speed(Box<speed::Speed>),
}

impl Bench {
    pub(super) fn opens_window(&self) -> bool {
        match self.what {
            #[cfg(feature = "window")]
            What::Window(_) => true,
            _ => false,
        }
    }

    pub(super) async fn run(self) -> Result<ExitCode> {
        match self.what {
            What::Kernels(bench) => bench.run().await,
            What::Attention(bench) => bench.run().await,
            What::Matmul(bench) => bench.run().await,
            What::Memory(bench) => bench.run().await,
            #[cfg(feature = "window")]
            What::Window(bench) => bench.run(),
            What::Step(bench) => bench.run().await,
            What::Methods(bench) => bench.run().await,
            What::Speed(bench) => bench.run().await,
        }
    }
}
