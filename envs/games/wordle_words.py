"""Common English words of five letters, our own list."""

_TEXT = """
about above abuse actor acute admit adopt adult after again agent agree ahead alarm album alert alike alive allow
alone along alter among anger angle angry apart apple apply arena argue arise armor array arrow aside asset audio
avoid awake award aware awful bacon badge baker basic basis beach beard beast began begin being belly below bench
berry birth black blade blame blank blast blaze bleed blend bless blind block blood bloom board boast bonus boost
booth bound brain brake brand brave bread break breed brick bride brief bring broad broke brook broom brown brush
build built bunch burst buyer cabin cable camel canal candy cargo carry catch cause cease chain chair chalk charm
chart chase cheap check cheek cheer chess chest chief child chill china choir chose civil claim clash class clean
clear clerk click cliff climb clock close cloth cloud clown coach coast coral couch could count court cover crack
craft crane crash crawl crazy cream creek crime crisp cross crowd crown crude cruel crush curve cycle daily dairy
dance death debut decay delay depth derby dirty ditch dizzy doubt dozen draft drain drama drank dream dress dried
drift drill drink drive drove drown dusty dwarf eager eagle early earth easel eight elbow elder elect empty enemy
enjoy enter entry equal error essay event every exact exile exist extra fable faint fairy faith false fancy fatal
favor feast fence ferry fetch fever fewer fiber field fiery fifth fifty fight final first flame flash fleet flesh
float flock flood floor flour fluid focus force forge forty forum found frame fraud fresh front frost fruit funny
ghost giant given glass globe glory glove grace grade grain grand grant grape graph grasp grass grave great green
greet grief grind groom group grown guard guess guest guide guild guilt habit happy harsh haste hatch haven heart
heavy hedge hello hence hobby honey honor horse hotel hound house human humor hurry ideal image imply index inner
input irony issue ivory jelly jewel joint jolly judge juice jumbo kayak knife knock known koala label labor large
laser later laugh layer learn lease least leave legal lemon level lever light limit linen liver lobby local lodge
logic loose lover lower loyal lucky lunar lunch magic major maker maple march marry match maybe mayor medal media
melon mercy merge merit merry metal meter might minor mixed model money month moral motor mount mouse mouth movie
music naive nasty naval nerve never newly night noble noise north novel nurse nylon oasis occur ocean offer often
olive onion opera orbit order organ other ought ounce outer owner paint panel panic paper party pasta patch pause
peace peach pearl penny phase phone photo piano piece pilot pitch pixel pizza place plain plane plant plate plaza
plead point polar porch pound power press price pride prime print prize proof proud prove pulse punch pupil puppy
purse quack queen query quest quick quiet quilt quite quote radar radio raise ranch range rapid ratio razor reach
react ready realm rebel refer relax reply rhyme rider ridge right rigid rinse ripen risky rival river roast robin
robot rocky rough round route royal rugby ruler rural sadly salad sandy sauce scale scare scarf scene scent scope
score scout screw seize sense serve seven shade shake shall shame shape share shark sharp sheep sheet shelf shell
shift shine shirt shock shore short shout shown sight silly since sixth sixty skate skill skirt slate sleep slice
slide slope small smart smell smile smoke snack snake solar solid solve sorry sound south space spare spark speak
speed spell spend spice spill spine split spoon sport spray squad staff stage stair stake stamp stand stare start
state steak steam steel steep stern stick stiff still stock stone stool store storm story stove straw strip study
stuff style sugar suite sunny super surge swamp swear sweat sweep sweet swift swing sword table taste teach tempo
tenth thank theft their theme there thick thief thing think third thorn those three throw thumb tiger tight timer
title toast today token tooth topic torch total touch tough tower toxic trace track trade trail train treat trend
trial tribe trick troop truck truly trunk trust truth tulip twice twist ultra uncle under union unite unity until
upper upset urban usage usual vague valid value valve vapor vault venue video villa viral virus visit vital vivid
vocal voice voter wagon waist waste watch water weary weigh weird whale wheat wheel where which while whirl white
whole whose widow width woman world worry worse worst worth would wound wrist write wrong yacht yield young youth
zebra
"""
WORDS = tuple(_TEXT.split())
