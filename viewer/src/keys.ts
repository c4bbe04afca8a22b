/** The entry of an API key. */

import { hasKey, keepKey, whenKeyIsMissing } from "./api";
import { byId } from "./dom";
import { showError } from "./errors";
import { texts } from "./texts";

/** Let the button open the dialog, which also opens when the service needs a key; `reload` is called with a new key. */
export function setUpKeys(reload: () => void): void {
  const dialog = byId<HTMLDialogElement>("key-dialog");
  const input = byId<HTMLInputElement>("key-input");
  const open = (reason: string | null): void => {
    showError(byId("key-reason"), reason);
    byId("forget-key").hidden = !hasKey();
    if (!dialog.open) dialog.showModal();
  };
  byId("key").addEventListener("click", () => open(null));
  // once, so that whoever closes the dialog is not interrupted by each request after it
  let isOffered = false;
  whenKeyIsMissing((reason) => {
    if (!isOffered) open(reason);
    isOffered = true;
  });
  dialog.addEventListener("close", () => {
    const isForgotten = dialog.returnValue === "forget";
    if (isForgotten || (dialog.returnValue === "save" && input.value.trim() !== "")) {
      keepKey(isForgotten ? "" : input.value.trim());
      isOffered = false;
      reload();
    }
    input.value = "";
    mark();
  });
  mark();
}

function mark(): void {
  byId("key").classList.toggle("on", hasKey());
  byId("key").title = hasKey() ? texts.keyKept : texts.keyNone;
}
