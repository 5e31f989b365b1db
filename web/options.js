/** The options that matter, remembered from the last time. */

import { murmur } from "./api.js";
import { h } from "./dom.js";
import * as store from "./store.js";

export function optionFields() {
  const chosen = store.read("options") ?? {};
  const model = h("select", { name: "model" }, h("option", { value: "" }, "The platform's choice"));
  const language = h("select", { name: "language" }, h("option", { value: "" }, "Detect it"));
  const task = h("select", { name: "task" },
    h("option", { value: "transcribe" }, "Write what is said"),
    h("option", { value: "translate" }, "Translate into English"));
  const prompt = h("textarea", { name: "prompt", rows: 2, maxlength: 4000 });
  const hotwords = h("input", { name: "hotwords", maxlength: 4000, autocomplete: "off" });
  const words = h("input", { name: "word_timestamps", type: "checkbox", checked: true });
  const normalize = h("input", { name: "normalize", type: "checkbox" });
  const diarize = h("input", { name: "diarize", type: "checkbox" });
  const channels = h("input", { name: "channels", type: "checkbox" });
  const multilingual = h("input", { name: "multilingual", type: "checkbox" });
  const batch = h("input", { name: "priority", type: "checkbox" });
  const fields = { model, language, task, prompt, hotwords, words, diarize, channels, multilingual, normalize, batch };
  for (const [name, value] of Object.entries(chosen)) {
    const field = fields[name];
    if (field?.type === "checkbox") field.checked = value;
    else if (field) field.value = value;
  }

  const element = h("div", { class: "options" },
    h("div", { class: "fields" },
      h("label", {}, "Language", language),
      h("label", {}, "Model", model),
      h("label", {}, "Task", task)),
    h("details", {},
      h("summary", {}, "More options"),
      h("div", { class: "fields wide" },
        h("label", {}, "Names and words to listen for", hotwords),
        h("label", {}, "What was said before, or a text in the style you want", prompt)),
      h("div", { class: "checks" },
        h("label", { class: "check" }, words, "Time every word"),
        h("label", { class: "check" }, diarize, "Say who speaks"),
        h("label", { class: "check" }, channels, "Transcribe each channel by itself"),
        h("label", { class: "check" }, multilingual, "Several languages are spoken"),
        h("label", { class: "check" }, normalize, "Make a very quiet recording louder first"),
        h("label", { class: "check" }, batch, "No hurry: let other people's recordings go first"))));
  element.addEventListener("change", () => {
    const now = Object.entries(fields).map(([name, f]) => [name, f.type === "checkbox" ? f.checked : f.value]);
    store.write("options", Object.fromEntries(now));
  });

  /** Choose what was chosen last, if it is still there. */
  const fill = (select, options, last) => {
    select.append(...options.map(([value, text]) => h("option", { value }, text)));
    if (options.some(([value]) => value === last)) select.value = last;
  };
  return {
    element,
    values: () => ({
      model: model.value || null,
      language: language.value || null,
      task: task.value,
      prompt: prompt.value.trim() || null,
      hotwords: hotwords.value.trim() || null,
      word_timestamps: words.checked,
      diarize: diarize.checked || null,
      channels: channels.checked ? "split" : null,
      multilingual: multilingual.checked || null,
      normalize: normalize.checked || null,
      priority: batch.checked ? "batch" : null,
    }),
    async load() {
      const [languages, models] = await Promise.all([murmur.languages(), murmur.models()]);
      const named = languages.map(({ code, name }) => [code, name.charAt(0).toUpperCase() + name.slice(1)]);
      fill(language, named.sort((a, b) => a[1].localeCompare(b[1])), chosen.language);
      fill(model, models.filter((it) => !it.alias_of).map(({ id }) => [id, id]), chosen.model);
    },
  };
}
