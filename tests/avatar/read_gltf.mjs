// Opens a file with three.js's GLTFLoader, and as VRM with @pixiv/three-vrm; prints what they found as JSON.
//   node read_gltf.mjs NODE_MODULES FILE [SECONDS]   SECONDS: where in the first clip to sample the bones
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, file, seconds] = process.argv.slice(2);
globalThis.self = globalThis; // the loader looks for URL there
const load = (path) => import(pathToFileURL(resolve(modules, path)));
const THREE = await load("three/build/three.module.js");
const { GLTFLoader } = await load("three/examples/jsm/loaders/GLTFLoader.js");
const loader = new GLTFLoader();
if (file.endsWith(".vrm")) {
  const { VRMLoaderPlugin } = await load("@pixiv/three-vrm/lib/three-vrm.module.js");
  loader.register((parser) => new VRMLoaderPlugin(parser));
}
const bytes = readFileSync(file);
const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
const gltf = await loader.parseAsync(buffer, "");
const found = { meshes: [], clips: gltf.animations.map((a) => ({ name: a.name, duration: a.duration })) };
const vrm = gltf.userData.vrm;
if (vrm) {
  found.meta = vrm.meta;
  found.bones = Object.keys(vrm.humanoid.humanBones);
  found.expressions = Object.keys(vrm.expressionManager.expressionMap);
  found.lookAt = vrm.lookAt.applier.constructor.name;
  vrm.expressionManager.setValue("happy", 1);
  vrm.expressionManager.setValue("jawOpen", 0.5);
  vrm.update(0);
}
if (seconds !== undefined && gltf.animations.length) {
  const mixer = new THREE.AnimationMixer(gltf.scene);
  mixer.clipAction(gltf.animations[0]).play();
  mixer.setTime(Number(seconds));
}
gltf.scene.updateMatrixWorld(true);
const colorsOf = (object) => {
  if (object.material.map) return "texture";
  if (gltf.parser.json.textures?.length) return ""; // Node decodes no pictures: a browser has to be asked
  return object.geometry.attributes.color ? "vertex colours" : "";
};
gltf.scene.traverse((object) => {
  if (!object.isSkinnedMesh) return;
  const bones = {};
  for (const bone of object.skeleton.bones) {
    bones[bone.name] = new THREE.Vector3().setFromMatrixPosition(bone.matrixWorld).toArray();
  }
  const first = object.getVertexPosition(0, new THREE.Vector3()).toArray();
  found.meshes.push({
    vertices: object.geometry.attributes.position.count,
    targets: Object.keys(object.morphTargetDictionary ?? {}),
    influences: object.morphTargetInfluences ?? [],
    weighted: Boolean(object.geometry.attributes.skinWeight && object.geometry.attributes.skinIndex),
    colors: colorsOf(object),
    bones,
    first,
  });
});
console.log(JSON.stringify(found));
