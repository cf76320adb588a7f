#include "app/config_options.h"

const struct conf_option conf_options[OPTIONS] = {
#define OPTION(id, ...) [OPT_##id] = {__VA_ARGS__},
#include "app/conf.def"
};
