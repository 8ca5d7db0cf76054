for (const figure of document.querySelectorAll(".turntable")) {
  const stage = figure.querySelector(".stage"), slider = figure.querySelector("input");
  const frames = [...stage.querySelectorAll("img")], step = stage.clientWidth / frames.length / 1.5;
  let start = null;
  const show = () => frames.forEach((frame, i) => { frame.hidden = i !== Number(slider.value); });
  const turn = (event) => {
    if (!start) return;
    const moved = start.frame + Math.round((event.clientX - start.x) / Math.max(step, 4));
    slider.value = ((moved % frames.length) + frames.length) % frames.length;
    show();
  };
  stage.addEventListener("pointerdown", (event) => {
    start = { x: event.clientX, frame: Number(slider.value) };
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", turn);
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { start = null; });
  slider.addEventListener("input", show);
  slider.hidden = figure.querySelector(".hint").hidden = frames.length < 2;
  figure.classList.add("live");
}
