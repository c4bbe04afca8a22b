/** The entry of an API key. */

import { hasKey, keepKey, whenKeyIsMissing } from "./api";
import { byId } from "./dom";

/** Let the button open the dialog, which also opens when the service needs a key; `reload` is called with a new key. */
export function setUpKeys(reload: () => void): void {
  const dialog = byId<HTMLDialogElement>("key-dialog");
  const input = byId<HTMLInputElement>("key-input");
  const open = (): void => {
    if (!dialog.open) dialog.showModal();
  };
  byId("key").addEventListener("click", open);
  // once, so that whoever closes the dialog is not interrupted by each request after it
  let isOffered = false;
  whenKeyIsMissing(() => {
    if (!isOffered) open();
    isOffered = true;
  });
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "save") {
      keepKey(input.value.trim());
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
}
