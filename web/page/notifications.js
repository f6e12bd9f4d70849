// What the page says outside of its window: while it loads, and when something is the matter.

const byId = (id) => document.getElementById(id);

/// How much of the program has come; `undefined` where that is not known.
export function progress(share) {
    const element = byId("progress");
    if (share === undefined) element.removeAttribute("value");
    else element.value = share;
}

/// What is being done.
export function doing(text) {
    byId("doing").textContent = text;
}

/// Shows or hides what is shown while the page loads.
export function welcome(isShown) {
    byId("welcome").classList.toggle("hidden", !isShown);
}

/// A bar at the upper edge; one with the same name takes its place.
export function bar(name, text, { fault = false, action = undefined }) {
    const id = `bar-${name}`;
    byId(id)?.remove();
    const element = document.createElement("div");
    element.id = id;
    element.className = fault ? "bar fault" : "bar";
    element.setAttribute("role", fault ? "alert" : "status");
    const words = document.createElement("p");
    words.textContent = text;
    element.append(words);
    if (action) element.append(button(action.text, action.run));
    element.append(button("Dismiss", () => element.remove()));
    byId("bars").append(element);
}

function button(text, run) {
    const element = document.createElement("button");
    element.textContent = text;
    element.onclick = run;
    return element;
}
