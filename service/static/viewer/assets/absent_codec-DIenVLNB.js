const e={fromConfig(){throw new Error("The page reads chunks that are compressed with Blosc, as all stores of Warmcast are.")}};export{e as default};
