// The worker of the page: the program's workers, the device and the files. The page's own thread only draws.
//
// From the page: { module, isOnlyPage, recorded }, once; { request }, as JSON; { addFiles: [{ path, file }], number };
//   { zipFolder: folder }; { check, folder, number }, a test of this browser.
// To the page: { status }, { ready }, { replies }, { changes }, { zippedFolder, bytes }, { filesAdded }, { checked, errors },
//   { storageProblem }, { error }, { panic }.

import init, { Workers, addFile, checkForward, checkGather, checkProducts, checkTrajectory, onPanic, putFile, shaderTexts, takeChanges, zipFolder } from "./agoge_web.js";
import { BrowserStorage } from "./browser_storage.js";

let workers;
let storage;
let isReceiving = false;
let isStoring = false;
let storedAt = 0;

/// Time between two transfers of changed files to the browser's storage, in milliseconds.
const STORE_INTERVAL = 300;
/// Files whose text the page itself needs: settings of runs.
const READ_BY_PAGE = /(^|\/)(config|adapter)\.json$/;

// A read from a device that is lost may never be answered: the browser itself reports the loss.
if (self.GPUAdapter) {
    const requestDevice = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...args) {
        const device = await requestDevice.apply(this, args);
        device.lost.then(({ message }) => post({ panic: `The graphics device was lost: ${message || "the browser does not say why"}` }));
        return device;
    };
}

// The program shows the description of an adapter, which most browsers leave empty; vendor and architecture are there.
if (self.GPUAdapterInfo) {
    const description = Object.getOwnPropertyDescriptor(GPUAdapterInfo.prototype, "description");
    const composed = ({ vendor, architecture, device }) => [vendor, architecture, device].filter(Boolean).join(" ");
    Object.defineProperty(GPUAdapterInfo.prototype, "description", { ...description, get() { return description.get.call(this) || composed(this); } });
}

self.onmessage = ({ data }) => handle(data).catch((error) => post({ error: sentence(error) }));

async function handle(message) {
    if (message.module) await open(message);
    if (message.request) workers.send(message.request);
    if (message.addFiles) {
        for (const { path, file } of message.addFiles) addFile(path, file);
        await storeChanges(true);
        post({ filesAdded: message.number });
    }
    if (message.check) {
        const checks = { gather: checkGather, products: checkProducts, forward: checkForward, trajectory: checkTrajectory, shaders: compileShaders };
        post({ checked: message.number, errors: JSON.parse(await checks[message.check](message.folder)) });
    }
    if (message.zipFolder !== undefined) {
        const bytes = zipFolder(message.zipFolder);
        self.postMessage({ zippedFolder: message.zipFolder, bytes }, [bytes.buffer]);
    }
}

async function open({ module, isOnlyPage, recorded }) {
    await init({ module_or_path: module });
    onPanic((text) => post({ panic: text }));
    post({ status: "looking for stored runs" });
    const changes = [];
    const put = async (path, file) => {
        putFile(path, file);
        changes.push(await describe(path, file));
    };
    storage = await BrowserStorage.open(isOnlyPage);
    await storage.forEachFile(put);
    for (const { path, bytes } of recorded) await put(path, new Blob([bytes]));
    post({ changes });
    workers = new Workers(wake);
    post({ ready: true });
}

/// There are replies: they are received when the task that sends them has ended.
function wake() {
    if (isReceiving) return;
    isReceiving = true;
    queueMicrotask(() => {
        isReceiving = false;
        const replies = [];
        for (let reply = workers.receive(); reply !== undefined; reply = workers.receive()) replies.push(reply);
        const isUrgent = replies.some((reply) => reply.includes('"saved"') || reply.includes('"finished"'));
        // The files of a run are there before its events.
        storeChanges(isUrgent).catch((error) => post({ error: sentence(error) }));
        if (replies.length > 0) post({ replies });
    });
}

/// Transfers changed files to the browser's storage, in order, and reports them to the page.
async function storeChanges(isUrgent) {
    if (isStoring) return;
    const wait = storedAt + STORE_INTERVAL - performance.now();
    isStoring = true;
    try {
        if (!isUrgent && wait > 0) await new Promise((done) => setTimeout(done, wait));
        for (let taken = takeChanges(); taken.length > 0; taken = takeChanges()) {
            const changes = [];
            for (const { path, from, content } of taken) {
                if (path.startsWith("temporary/")) continue;
                changes.push(content === undefined ? { path } : await describe(path, content, from));
                const problem = await storage.apply(path, from, content);
                if (problem) post({ storageProblem: problem });
            }
            if (changes.length > 0) post({ changes });
        }
        storedAt = performance.now();
    } finally {
        isStoring = false;
    }
}

/// A file as it is reported to the page: its path, and its text where the page needs it.
async function describe(path, content, from = 0) {
    if (!READ_BY_PAGE.test(path) || from > 0) return { path, text: "" };
    return { path, text: content instanceof Blob ? await content.text() : new TextDecoder().decode(content) };
}

function post(message) {
    self.postMessage(message);
}

function sentence(error) {
    return String(error?.message ?? error);
}

/// Compiles each shader; the number of shaders, and the errors of those that the browser refuses, as JSON.
async function compileShaders() {
    const device = await (await navigator.gpu.requestAdapter()).requestDevice();
    const refused = {};
    let count = 0;
    for (const [name, code] of Object.entries(JSON.parse(shaderTexts()))) {
        count++;
        const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
        const errors = messages.filter((message) => message.type === "error");
        if (errors.length > 0) refused[name] = errors[0].message;
    }
    device.destroy();
    return JSON.stringify({ count, refused });
}
