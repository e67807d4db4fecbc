// The picture of the wallet, pushed once a second.

import { Line } from "./line.js";

/** The line on which pictures come. */
export function pictureLine(onPicture, onState) {
  return new Line(({ heard, lost }) => {
    const source = new EventSource("/wallet/status/events");
    source.addEventListener("picture", (event) => {
      heard();
      onPicture(JSON.parse(event.data));
    });
    source.onerror = lost; // its own way to come back knows no silence
    return () => source.close();
  }, onState);
}
