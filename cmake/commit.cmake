# Writes OUT, a header with the commit that SOURCE is at, if that is not what it says already: run at every build, so that
# `carat version` tells the truth and nothing is compiled again for nothing. CARAT_COMMIT in the environment comes first:
# a package is built from a tree without .git.
set(commit "$ENV{CARAT_COMMIT}")
if(commit STREQUAL "")
  execute_process(COMMAND git -c safe.directory=* describe --always --abbrev=12 --dirty --exclude *
                  WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(commit STREQUAL "")
  set(commit "unknown")
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#define CARAT_COMMIT \"${commit}\"\n")
