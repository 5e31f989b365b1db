/** Recording from the microphone: a button that becomes a clock and a stop. */

import { h, toast } from "./dom.js";
import { clock } from "./words.js";

const KINDS = [["audio/webm;codecs=opus", "webm"], ["audio/mp4", "m4a"], ["audio/ogg;codecs=opus", "ogg"]];
const WHY = {
  NotAllowedError: "The browser doesn't let this page use the microphone. Allow it beside the address, and try again.",
  NotFoundError: "There is no microphone.",
  NotReadableError: "Another program uses the microphone.",
};

export function recorder(done, signal) {
  const button = h("button", { type: "button", class: "button record" }, "Record");
  let running;

  async function start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      toast("Browsers give pages the microphone over https or on localhost only.", "bad");
      return;
    }
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const [type, extension] = KINDS.find(([kind]) => MediaRecorder.isTypeSupported(kind)) ?? ["", "webm"];
    const media = new MediaRecorder(stream, type ? { mimeType: type } : {});
    const parts = [];
    const began = Date.now();
    const tick = setInterval(show, 500);
    function show() {
      button.textContent = `Stop ${clock((Date.now() - began) / 1000)}`;
    }
    media.ondataavailable = (event) => parts.push(event.data);
    media.onstop = () => {
      clearInterval(tick);
      for (const track of stream.getTracks()) track.stop();
      button.classList.remove("running");
      button.textContent = "Record";
      running = null;
      if (signal.aborted) return;
      const name = `Recording ${new Date(began).toLocaleString("sv").replaceAll(":", "-")}.${extension}`;
      done(new File(parts, name, { type: media.mimeType }));
    };
    // In pieces, so that a crash of the encoder's end loses seconds only.
    media.start(1000);
    running = media;
    button.classList.add("running");
    show();
  }

  button.addEventListener("click", () => {
    if (running) running.stop();
    else start().catch((error) => toast(WHY[error.name] ?? `The microphone can't be used: ${error.message}`, "bad"));
  });
  signal.addEventListener("abort", () => running?.stop());
  return button;
}
