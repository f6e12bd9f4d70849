//! Devices: what there is to compute on, which one a run takes and why, and how much memory it uses.
//!
//! A GPU is any adapter that wgpu lists through Vulkan, Metal, DX12 or WebGPU, software ones included. The CPU device
//! is Burn's `flex` backend, which needs no driver at all.

pub mod cooperative;
#[cfg(not(target_arch = "wasm32"))]
mod host;
mod kind;
#[cfg(not(target_arch = "wasm32"))]
mod launches;
mod memory;
pub mod sizes_only;

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
};

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, Int, Tensor, TensorData, wgpu::WgpuSetup};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

#[cfg(not(target_arch = "wasm32"))]
pub use host::{compute_on_this_thread, keep_freed_memory};
pub use kind::Kind;
#[cfg(not(target_arch = "wasm32"))]
pub use launches::launches_during;
#[cfg(not(target_arch = "wasm32"))]
pub use memory::peak_of_process;

/// What is known of a device before it is opened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceFacts {
    /// Position in the list that `agoge devices` prints.
    pub index: usize,
    /// The adapter's own name.
    pub name: String,
    /// "Vulkan", "Metal", "Dx12", "BrowserWebGpu" or "flex".
    pub backend: String,
    /// Hardware, software or CPU.
    pub kind: Kind,
    /// Driver name and version, as far as it says.
    pub driver: String,
    /// Memory that a run may use at most, in bytes, as far as the device says.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Largest buffer that a shader can bind, in bytes; `None` where memory is the only limit.
    pub max_binding_bytes: Option<u64>,
    /// Storage buffers a shader may bind at once.
    pub max_storage_buffers: Option<u32>,
    /// Workgroup memory of a shader, in bytes.
    pub max_workgroup_memory_bytes: Option<u32>,
    /// Bytes at whose multiples buffers begin.
    #[serde(default)]
    pub buffer_alignment: Option<u32>,
    /// Whether shaders may compute in f16.
    pub shader_f16: bool,
    /// Whether shaders may use subgroup operations, and the smallest and largest subgroup.
    pub subgroup_sizes: Option<(u32, u32)>,
}

/// What a person asks for with `--device`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum DeviceChoice {
    /// The best hardware GPU, else the CPU device.
    #[default]
    Auto,
    /// The best adapter, software ones included.
    Gpu,
    /// The CPU device.
    Cpu,
    /// A position in the list of `agoge devices`.
    Index(usize),
    /// A part of an adapter's name.
    Name(String),
}

impl From<String> for DeviceChoice {
    fn from(text: String) -> Self {
        match text.to_lowercase().as_str() {
            "auto" => Self::Auto,
            "gpu" => Self::Gpu,
            "cpu" => Self::Cpu,
            other => other.parse().map_or(Self::Name(text), Self::Index),
        }
    }
}

impl std::str::FromStr for DeviceChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(text.to_owned()))
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Gpu => f.write_str("gpu"),
            Self::Cpu => f.write_str("cpu"),
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Memory figures of a device, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What live tensors use (GPU), or the resident memory of the process (CPU).
    pub in_use_bytes: u64,
    /// What the allocator holds on the device, pages kept for reuse included (GPU); as `in_use_bytes` on the CPU.
    pub reserved_bytes: u64,
}

/// An opened device.
#[derive(Clone, Debug)]
pub struct ComputeDevice {
    /// Burn's handle, without autodiff.
    pub handle: Device,
    /// What it is.
    pub facts: DeviceFacts,
    /// Why it was chosen, as half a sentence.
    pub reason: String,
}

/// The end of some work on a device, awaited without blocking a browser.
pub type Done = Pin<Box<dyn Future<Output = Result<()>>>>;

struct Candidate {
    facts: DeviceFacts,
    adapter: Option<wgpu::Adapter>,
}

/// Every device, in the order of `agoge devices`: hardware first, the CPU device last.
pub async fn list() -> Vec<DeviceFacts> {
    candidates(&instance()).await.into_iter().map(|candidate| candidate.facts).collect()
}

/// Opens the device that `choice` means.
///
/// # Errors
/// Nothing matches the choice, or the driver refuses to create the device.
pub async fn open(choice: &DeviceChoice) -> Result<ComputeDevice> {
    open_within(choice, Limits::OfAdapter).await
}

/// [`open`] with other limits than the adapter's, which the facts of the device then state as well. The CPU device has none.
///
/// # Errors
/// Nothing matches the choice, or the driver refuses to create the device.
pub async fn open_within(choice: &DeviceChoice, limits: Limits) -> Result<ComputeDevice> {
    let Chosen { mut facts, adapter, reason } = resolve(choice).await?;
    let handle = match adapter {
        Some((instance, adapter)) => {
            let limits = limits.of(&adapter);
            facts.limited(&limits);
            adopt(instance, adapter, limits, &facts, None).await?
        }
        None => Device::flex(),
    };
    Ok(ComputeDevice { handle, facts, reason })
}

/// What a device may bind, allocate and launch at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limits {
    /// All that its adapter offers.
    #[default]
    OfAdapter,
    /// What WebGPU promises of every device (its default limits), and no more.
    OfWebGpu,
}

impl Limits {
    fn of(self, adapter: &wgpu::Adapter) -> wgpu::Limits {
        match self {
            Self::OfAdapter => adapter.limits(),
            // Offsets into buffers come as far apart as the driver wants them.
            Self::OfWebGpu => wgpu::Limits::default().using_alignment(adapter.limits()),
        }
    }
}

/// What [`open`] would open.
///
/// # Errors
/// Nothing matches the choice.
pub async fn find(choice: &DeviceChoice) -> Result<DeviceFacts> {
    resolve(choice).await.map(|chosen| chosen.facts)
}

/// The device that a choice means, not yet open.
struct Chosen {
    facts: DeviceFacts,
    /// `None` for the CPU device.
    adapter: Option<(wgpu::Instance, wgpu::Adapter)>,
    reason: String,
}

async fn resolve(choice: &DeviceChoice) -> Result<Chosen> {
    let cpu = |reason: &str| Chosen { facts: cpu_facts(0), adapter: None, reason: reason.into() };
    if *choice == DeviceChoice::Cpu {
        return Ok(cpu("asked for"));
    }
    let instance = instance();
    let candidates = candidates(&instance).await;
    let facts: Vec<DeviceFacts> = candidates.iter().map(|candidate| candidate.facts.clone()).collect();
    let (position, reason) = choose(choice, &facts)?;
    let Candidate { facts, adapter } = candidates.into_iter().nth(position).expect("position is in the list");
    let Some(adapter) = adapter else { return Ok(cpu(&reason)) };
    Ok(Chosen { facts, adapter: Some((instance, adapter)), reason })
}

/// The place in the list of [`list()`] that `choice` means, and why, as half a sentence.
///
/// # Errors
/// Nothing in the list matches the choice.
pub fn choose(choice: &DeviceChoice, devices: &[DeviceFacts]) -> Result<(usize, String)> {
    let names = || devices.iter().map(|d| format!("{} ({})", d.index, d.name)).collect::<Vec<_>>().join(", ");
    let last = devices.len().saturating_sub(1);
    match choice {
        DeviceChoice::Cpu => Ok((last, "asked for".to_owned())),
        DeviceChoice::Auto => Ok(match devices.first() {
            Some(best) if best.kind < Kind::SoftwareGpu => (0, format!("best {} here", best.kind)),
            Some(best) if best.kind == Kind::SoftwareGpu => {
                (last, "no hardware GPU here, and the CPU device is faster than software Vulkan".to_owned())
            }
            _ => (last, "no GPU adapter here".to_owned()),
        }),
        DeviceChoice::Gpu => match devices.first() {
            Some(best) if best.kind < Kind::Cpu => Ok((0, "best adapter here".to_owned())),
            _ => Err(Error::Device(
                "--device gpu: no Vulkan, Metal or DX12 adapter found; install a GPU driver (or Mesa's lavapipe), or use \
                 --device cpu"
                    .into(),
            )),
        },
        DeviceChoice::Index(index) if *index < devices.len() => Ok((*index, "asked for".to_owned())),
        DeviceChoice::Index(index) => {
            Err(Error::input(format!("--device {index}: there is no such device; there are {}", names())))
        }
        DeviceChoice::Name(part) => {
            let wanted = part.to_lowercase();
            match devices.iter().position(|device| device.name.to_lowercase().contains(&wanted)) {
                Some(position) => Ok((position, format!("its name contains '{part}'"))),
                None => Err(Error::input(format!(
                    "--device {part}: no device has this in its name; there are {}",
                    names()
                ))),
            }
        }
    }
}

/// Registers an adapter with Burn, with every feature that it offers. `record` is that of one that has only sizes.
async fn adopt(
    instance: wgpu::Instance,
    adapter: wgpu::Adapter,
    limits: wgpu::Limits,
    facts: &DeviceFacts,
    record: Option<Arc<sizes_only::Record>>,
) -> Result<Device> {
    let cooperative = cooperative::wanted() && cooperative::offered(&adapter, &limits);
    let experiments = if cooperative { cooperative::FEATURE } else { wgpu::Features::empty() };
    let (device, queue) = adapter
        .request_device(&wgpu::DeviceDescriptor {
            label: Some("agoge"),
            // Mappable primary buffers are slow on discrete cards; Burn leaves them out too.
            required_features: (adapter.features()
                - wgpu::Features::MAPPABLE_PRIMARY_BUFFERS
                - wgpu::Features::all_experimental_mask())
                | experiments,
            required_limits: limits,
            experimental_features: cooperative::permission(cooperative),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        })
        .await
        .map_err(|e| Error::Device(format!("the driver of {} refused to open it: {e}", facts.name)))?;
    let backend = adapter.get_info().backend;
    let mut options = Device::wgpu_options().setup(WgpuSetup { instance, adapter, device, queue, backend });
    if record.is_some() {
        // What is queued would keep buffers that the allocator has given back already.
        options = options.tasks_max(1);
    } else if facts.kind == Kind::SoftwareGpu {
        // Each submission costs a software adapter more than it gains by starting early: fewer, larger ones.
        options = options.tasks_max(256);
    }
    let device = options.init().map_err(|e| Error::Device(format!("{} cannot be used: {e}", facts.name)))?;
    let traits = Traits { software: facts.kind == Kind::SoftwareGpu, cooperative, record };
    OPEN.write().unwrap_or_else(PoisonError::into_inner).push((device.clone(), traits));
    Ok(device)
}

/// What kernels want to know of an adapter.
#[derive(Clone, Default)]
struct Traits {
    software: bool,
    cooperative: bool,
    /// What happens to its memory, if that is all there is of it.
    record: Option<Arc<sizes_only::Record>>,
}

/// The adapters that are open.
static OPEN: RwLock<Vec<(Device, Traits)>> = RwLock::new(Vec::new());

fn traits(device: &Device) -> Traits {
    let open = OPEN.read().unwrap_or_else(PoisonError::into_inner);
    open.iter().find(|(other, _)| other == device).map_or_else(Traits::default, |(_, traits)| traits.clone())
}

/// Whether the shaders of a device run on the processor.
pub fn is_software(device: &Device) -> bool {
    traits(device).software
}

/// Whether a device multiplies cooperative matrices: it can, and it was asked for.
pub fn is_cooperative(device: &Device) -> bool {
    traits(device).cooperative
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    wgpu::Instance::new(descriptor)
}

async fn candidates(instance: &wgpu::Instance) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = instance
        .enumerate_adapters(wgpu::Backends::PRIMARY)
        .await
        .into_iter()
        .map(|adapter| Candidate { facts: adapter_facts(&adapter), adapter: Some(adapter) })
        .collect();
    all.push(Candidate { facts: cpu_facts(0), adapter: None });
    all.sort_by_key(|candidate| candidate.facts.kind);
    for (index, candidate) in all.iter_mut().enumerate() {
        candidate.facts.index = index;
    }
    all
}

fn adapter_facts(adapter: &wgpu::Adapter) -> DeviceFacts {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => Kind::DiscreteGpu,
        wgpu::DeviceType::IntegratedGpu => Kind::IntegratedGpu,
        wgpu::DeviceType::VirtualGpu => Kind::VirtualGpu,
        wgpu::DeviceType::Cpu => Kind::SoftwareGpu,
        wgpu::DeviceType::Other => Kind::Other,
    };
    let mut facts = DeviceFacts {
        index: 0,
        // Browsers keep the names of adapters to themselves.
        name: if info.name.is_empty() { "WebGPU".into() } else { info.name },
        backend: format!("{:?}", info.backend),
        kind,
        memory_bytes: memory::of_adapter(adapter, kind),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        max_binding_bytes: None,
        max_storage_buffers: None,
        max_workgroup_memory_bytes: None,
        buffer_alignment: None,
        shader_f16: features.contains(wgpu::Features::SHADER_F16),
        subgroup_sizes: features
            .contains(wgpu::Features::SUBGROUP)
            .then_some((info.subgroup_min_size, info.subgroup_max_size)),
    };
    facts.limited(&limits);
    facts
}

impl DeviceFacts {
    /// States the limits of a device.
    fn limited(&mut self, limits: &wgpu::Limits) {
        self.max_binding_bytes = Some(limits.max_storage_buffer_binding_size.min(limits.max_buffer_size));
        self.max_storage_buffers = Some(limits.max_storage_buffers_per_shader_stage);
        self.max_workgroup_memory_bytes = Some(limits.max_compute_workgroup_storage_size);
        self.buffer_alignment =
            Some(limits.min_storage_buffer_offset_alignment.max(limits.min_uniform_buffer_offset_alignment));
    }
}

fn cpu_facts(index: usize) -> DeviceFacts {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    DeviceFacts {
        index,
        name: format!("CPU, {threads} threads"),
        backend: "flex".into(),
        kind: Kind::Cpu,
        driver: String::new(),
        memory_bytes: memory::of_machine(),
        max_binding_bytes: None,
        max_storage_buffers: None,
        max_workgroup_memory_bytes: None,
        buffer_alignment: None,
        shader_f16: false,
        subgroup_sizes: None,
    }
}

impl ComputeDevice {
    /// The CPU device, without asking any driver.
    pub fn cpu() -> Self {
        Self { handle: Device::flex(), facts: cpu_facts(0), reason: "asked for".into() }
    }

    /// Whether this is Burn's CPU backend.
    pub fn is_cpu(&self) -> bool {
        self.facts.kind == Kind::Cpu
    }

    /// Whether its tensors have values, and not only sizes ([`sizes_only`]).
    pub fn has_values(&self) -> bool {
        traits(&self.handle).record.is_none()
    }

    /// Memory in use and reserved. On a GPU this waits for queued work: read it on report steps only.
    pub fn memory(&self) -> Memory {
        if let Some(usage) = self.handle.memory_pool_usage().filter(|_| !self.is_cpu()) {
            return Memory { in_use_bytes: usage.bytes_in_use, reserved_bytes: usage.bytes_reserved };
        }
        let resident = memory::resident_bytes();
        Memory { in_use_bytes: resident, reserved_bytes: resident }
    }

    /// The end of all work that is queued when it is first polled. Nothing happens to the work where it is dropped.
    pub fn done(&self) -> Done {
        let DispatchDevice::Cube(device) = self.handle.as_dispatch() else {
            return Box::pin(std::future::ready(Ok(())));
        };
        let client = device.client();
        Box::pin(async move { client.sync().await.map_err(|e| Error::Device(format!("the device failed: {e:?}"))) })
    }

    /// Uploads f32 values of shape `dims`.
    pub fn floats<const D: usize>(&self, values: Vec<f32>, dims: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, dims), &self.handle)
    }

    /// Uploads 32-bit integers (token ids) `[N]`.
    pub fn integers(&self, values: Vec<i32>) -> Tensor<1, Int> {
        let len = values.len();
        Tensor::from_data(TensorData::new(values, [len]), (&self.handle, DType::I32))
    }

    /// Uploads mask indices `[N]`, kept as 32-bit words whose bits are those of the u32.
    pub fn indices(&self, values: &[u32]) -> Tensor<1, Int> {
        self.integers(bytemuck::cast_slice(values).to_vec())
    }
}

fn unread(cause: impl fmt::Debug) -> Error {
    Error::Device(format!("reading a result failed: {cause:?}"))
}

/// The values of a tensor in row-major order, without blocking a browser.
///
/// # Errors
/// The device failed.
pub async fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    if traits(&tensor.device()).record.is_some() {
        // Nothing is read where there are no values.
        return Ok(vec![0.0; tensor.shape().num_elements()]);
    }
    let data = tensor.into_data_async().await.map_err(unread)?;
    data.convert::<f32>().try_into_vec::<f32>().map_err(unread)
}

/// Mask indices `[N]` as [`ComputeDevice::indices`] uploads them, without blocking a browser.
///
/// # Errors
/// The device failed.
pub async fn read_indices(indices: Tensor<1, Int>) -> Result<Vec<u32>> {
    let words: Vec<i32> = indices.into_data_async().await.map_err(unread)?.iter::<i32>().collect();
    Ok(bytemuck::cast_slice(&words).to_vec())
}
