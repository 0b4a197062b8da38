// Names of images: REGISTRY/PATH:TAG@DIGEST (OCI distribution specification). Only what the injector compares of them.

/** What a name without a registry means. */
const USUAL_PREFIX = /^(?:docker\.io\/)?(?:library\/)?/;

/** Registry and path, without tag and digest: two images of one repository are versions of one program. */
export function repositoryOf(image: string): string {
  const [reference = ""] = image.split("@", 1);
  const colon = reference.lastIndexOf(":");
  // A colon before the last slash is a registry's port.
  return (colon > reference.lastIndexOf("/") ? reference.slice(0, colon) : reference).replace(USUAL_PREFIX, "");
}
