# cmake -DOUT=fatbin.json -DKERNELS=folder -DNVCC=13.0.88 -DARCHS="75, 80" -P manifest.cmake
#
# Writes what the fatbins were built from. A source counts with all headers; backends/cuda/loader.py computes the same hash
# (of the files' hashes, joined) and takes a fatbin only for the sources that it was built from.
function(hash_of result)
  set(digests)
  foreach(file IN LISTS ARGN)
    file(SHA256 ${file} digest)
    string(APPEND digests ${digest})
  endforeach()
  string(SHA256 digest ${digests})
  set(${result} ${digest} PARENT_SCOPE)
endfunction()

file(GLOB sources ${KERNELS}/*.cu)  # in the order of their names, as is every GLOB
file(GLOB headers ${KERNELS}/*.cuh)
set(entries)
foreach(source IN LISTS sources)
  hash_of(digest ${source} ${headers})
  cmake_path(GET source STEM name)
  list(APPEND entries "    \"${name}\": \"${digest}\"")
endforeach()
list(JOIN entries ",\n" entries)
file(WRITE ${OUT} "{\n  \"nvcc\": \"${NVCC}\",\n  \"archs\": [${ARCHS}],\n  \"sources\": {\n${entries}\n  }\n}\n")
