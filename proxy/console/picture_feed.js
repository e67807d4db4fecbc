// The picture of the wallet, pushed once a second. An EventSource comes back by itself after most
// losses; where it gives up, as after an answer of 503, a new one is made.

const AGAIN_MS = 1000;

export function watchPictures(onPicture, onLost) {
  const source = new EventSource("/wallet/status/events");
  source.addEventListener("picture", (event) => onPicture(JSON.parse(event.data)));
  source.onerror = () => {
    onLost();
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(() => watchPictures(onPicture, onLost), AGAIN_MS);
    }
  };
}
