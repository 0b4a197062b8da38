// Names of images: REGISTRY/PATH:TAG@DIGEST (OCI distribution specification). Only what the injector compares of them.

/** What a name without a registry means. */
const USUAL_REGISTRY = "docker.io/";
const USUAL_FOLDER = "library/";

/** Registry and path, without tag and digest: two images of one repository are versions of one program. */
export function repositoryOf(image: string): string {
  const at = image.indexOf("@");
  const end = at === -1 ? image.length : at;
  const colon = image.lastIndexOf(":", end - 1);
  // A colon before the last slash is a registry's port.
  const isTag = colon !== -1 && colon > image.lastIndexOf("/", end - 1);
  let start = image.startsWith(USUAL_REGISTRY) ? USUAL_REGISTRY.length : 0;
  if (image.startsWith(USUAL_FOLDER, start)) start += USUAL_FOLDER.length;
  return image.slice(start, isTag ? colon : end);
}
