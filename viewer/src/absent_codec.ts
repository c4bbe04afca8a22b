/** Stands for the codecs of Zarr that no store of Warmcast uses, so that the page does not contain them. */
export default {
  fromConfig(): never {
    throw new Error("The page reads chunks that are compressed with Blosc, as all stores of Warmcast are.");
  },
};
