// Which browsers have WebGPU.

/// What to do in a browser without WebGPU. `hasInterface`: the browser has WebGPU but gives no adapter.
export function withoutWebGpu(hasInterface) {
    const problem = hasInterface
        ? "This browser has WebGPU but found no graphics processor that it trusts (in Chrome and Edge chrome://gpu says why)."
        : "This browser has no WebGPU, so nothing can be trained on the graphics processor here.";
    return `${problem} These browsers have it: Chrome and Edge from 113 (on Linux start them with --enable-unsafe-webgpu --enable-features=Vulkan), Safari from 26, Firefox from 141 (from 145 on Macs; else set dom.webgpu.enabled in about:config). A run that was recorded elsewhere is shown below; the demo can also be trained on the processor, slowly.`;
}
